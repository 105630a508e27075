package recording

import (
	"encoding/binary"
	"math/bits"
)

// Primes of XXH64 (its specification: "XXH64 Algorithm Description").
const (
	prime1 uint64 = 0x9E3779B185EBCA87
	prime2 uint64 = 0xC2B2AE3D27D4EB4F
	prime3 uint64 = 0x165667B19E3779F9
	prime4 uint64 = 0x85EBCA77C2B2AE63
	prime5 uint64 = 0x27D4EB2F165667C5
)

// contentChecksum is what ends a zstd frame: the low half of the content's
// XXH64 with seed 0 (RFC 8878, 3.1.1). The compressor sees only a part of a
// frame's content, so it cannot make it.
func contentChecksum(b []byte) uint32 {
	seed := uint64(0)
	length := uint64(len(b))
	h := seed + prime5
	if len(b) >= 32 {
		lanes := [4]uint64{seed + prime1 + prime2, seed + prime2, seed, seed - prime1}
		for ; len(b) >= 32; b = b[32:] {
			lanes[0] = mixLane(lanes[0], binary.LittleEndian.Uint64(b[0:8]))
			lanes[1] = mixLane(lanes[1], binary.LittleEndian.Uint64(b[8:16]))
			lanes[2] = mixLane(lanes[2], binary.LittleEndian.Uint64(b[16:24]))
			lanes[3] = mixLane(lanes[3], binary.LittleEndian.Uint64(b[24:32]))
		}
		h = bits.RotateLeft64(lanes[0], 1) + bits.RotateLeft64(lanes[1], 7) +
			bits.RotateLeft64(lanes[2], 12) + bits.RotateLeft64(lanes[3], 18)
		for _, lane := range lanes {
			h = (h^mixLane(0, lane))*prime1 + prime4
		}
	}
	h += length
	for ; len(b) >= 8; b = b[8:] {
		h = bits.RotateLeft64(h^mixLane(0, binary.LittleEndian.Uint64(b)), 27)*prime1 + prime4
	}
	if len(b) >= 4 {
		h = bits.RotateLeft64(h^uint64(binary.LittleEndian.Uint32(b))*prime1, 23)*prime2 + prime3
		b = b[4:]
	}
	for _, c := range b {
		h = bits.RotateLeft64(h^uint64(c)*prime5, 11) * prime1
	}
	h = (h ^ h>>33) * prime2
	h = (h ^ h>>29) * prime3
	return uint32(h ^ h>>32)
}

func mixLane(lane, word uint64) uint64 {
	return bits.RotateLeft64(lane+word*prime2, 31) * prime1
}
