package recording

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/klauspost/compress/zstd"
)

// Bounds of a file that this package writes and reads.
const (
	// MaxContent is the most that a frame decodes to, in bytes.
	MaxContent = 1 << 20
	// MaxFrame is the most that a frame takes in the file, in bytes.
	MaxFrame = MaxContent + 1<<10
	// MaxEvents is the most events that a block holds.
	MaxEvents = 8192
)

// The head of a frame: the zstd frame header, the header of a raw block, and
// that block, which says again, under its own checksum, how long the frame is.
// So a length is never believed that a flipped bit has changed.
const (
	headSize    = zstdHead + prefaceSize
	zstdHead    = 12 // magic, descriptor, content size, block header
	prefaceSize = 32
	// minFrame is a frame with nothing but its head: an empty last block and
	// the checksum follow.
	minFrame = headSize + 3 + 4

	zstdMagic = 0xFD2FB528
	// descriptor: a content size of 4 bytes, single segment, content checksum
	// (RFC 8878, 3.1.1.1.1).
	descriptor = 2<<6 | 1<<5 | 1<<2
	// prefaceBlock is the header of a raw block of prefaceSize that is not the
	// last (RFC 8878, 3.1.1.2).
	prefaceBlock = prefaceSize << 3
	maxRawBlock  = 128 << 10
)

// frameType says what a frame holds.
type frameType uint8

const (
	headerFrame frameType = 1
	blockFrame  frameType = 2
	indexFrame  frameType = 3
	endFrame    frameType = 4
)

// flagEntry: the block can be understood without any that came before.
const flagEntry = 1 << 0

// head is what a frame says of itself before its compressed part.
type head struct {
	kind         frameType
	flags        uint8
	major, minor uint8
	length       uint32 // bytes of the frame in the file
	raw          uint32 // bytes at the end of the content that are not compressed
	events       uint32
	time         int64  // ns: the latest time that was known when the frame was begun
	body         uint32 // CRC-32C of what follows the head
	content      uint32 // bytes of the content, this head's part included
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendTo appends headSize bytes.
func (h *head) appendTo(b []byte) []byte {
	at := len(b)
	b = binary.LittleEndian.AppendUint32(b, zstdMagic)
	b = append(b, descriptor)
	b = binary.LittleEndian.AppendUint32(b, h.content)
	b = append(b, prefaceBlock&0xff, prefaceBlock>>8, 0)
	b = append(b, byte(h.kind), h.flags, h.major, h.minor)
	b = binary.LittleEndian.AppendUint32(b, h.length)
	b = binary.LittleEndian.AppendUint32(b, h.raw)
	b = binary.LittleEndian.AppendUint32(b, h.events)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.time))
	b = binary.LittleEndian.AppendUint32(b, h.body)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[at+4:], castagnoli))
}

// fixed are the bytes that all heads have in common, and fixedMask which they are.
var fixed, fixedMask = func() (bytes, mask [zstdHead]byte) {
	binary.LittleEndian.PutUint32(bytes[:], zstdMagic)
	bytes[4], bytes[9], bytes[10] = descriptor, prefaceBlock&0xff, prefaceBlock>>8
	for _, i := range []int{0, 1, 2, 3, 4, 9, 10, 11} {
		mask[i] = 0xff
	}
	return bytes, mask
}()

// mayBegin says whether b, of any length, may be the beginning of a head.
func mayBegin(b []byte) bool {
	for i := range min(len(b), zstdHead) {
		if b[i]&fixedMask[i] != fixed[i] {
			return false
		}
	}
	return true
}

// parseHead reads a head. It reports false for what is none: b is too short,
// or its checksum is wrong, or it says what no writer writes.
func parseHead(b []byte) (h head, ok bool) {
	if len(b) < headSize || !mayBegin(b) ||
		crc32.Checksum(b[4:headSize-4], castagnoli) != binary.LittleEndian.Uint32(b[headSize-4:]) {
		return h, false
	}
	h.content = binary.LittleEndian.Uint32(b[5:])
	p := b[zstdHead:]
	h.kind, h.flags, h.major, h.minor = frameType(p[0]), p[1], p[2], p[3]
	h.length = binary.LittleEndian.Uint32(p[4:])
	h.raw = binary.LittleEndian.Uint32(p[8:])
	h.events = binary.LittleEndian.Uint32(p[12:])
	h.time = int64(binary.LittleEndian.Uint64(p[16:]))
	h.body = binary.LittleEndian.Uint32(p[24:])
	ok = h.length >= minFrame && h.length <= MaxFrame &&
		h.content >= prefaceSize && h.content <= MaxContent &&
		h.raw <= h.content-prefaceSize && h.events <= MaxEvents
	return h, ok
}

var magic = binary.LittleEndian.AppendUint32(nil, zstdMagic)

// findHead is where the first head in b is, or, if there is none, how many
// bytes at the front of b are part of none that more bytes could complete.
func findHead(b []byte) (at int, found bool) {
	for at < len(b) {
		next := bytes.Index(b[at:], magic)
		if next < 0 {
			break
		}
		at += next
		if len(b)-at < headSize {
			return at, false
		}
		if _, ok := parseHead(b[at:]); ok {
			return at, true
		}
		at++
	}
	return max(at, len(b)-len(magic)+1), false
}

// sealer makes frames.
type sealer struct {
	enc        *zstd.Encoder
	content    []byte // of the frame: its preface, what is compressed, and what is not
	compressed []byte
	frame      []byte
}

func newSealer() *sealer {
	enc, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(MaxContent), zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true),
		zstd.WithAllLitEntropyCompression(true))
	if err != nil {
		panic("recording: zstd options: " + err.Error())
	}
	return &sealer{enc: enc}
}

// errContent: what should go into one frame is more than MaxContent.
var errContent = fmt.Errorf("more than %d bytes in one frame", MaxContent)

// seal makes a frame of what is to be compressed and what is not, in this
// order. It sets what h says of them. The frame is valid until the
// next call.
func (s *sealer) seal(h *head, compress, raw []byte) ([]byte, error) {
	content := prefaceSize + len(compress) + len(raw)
	if content > MaxContent {
		return nil, errContent
	}
	h.raw, h.content = uint32(len(raw)), uint32(content)
	blocks, last := s.blocks(compress)
	if len(raw) == 0 && last >= 0 {
		blocks[last] |= 1
	}
	s.frame = append(append(s.frame[:0], make([]byte, headSize)...), blocks...)
	if len(raw) == 0 && last < 0 {
		s.frame = appendRawBlock(s.frame, nil, true)
	}
	s.content = append(append(append(s.content[:0], make([]byte, prefaceSize)...), compress...), raw...)
	for len(raw) > 0 {
		part := raw[:min(len(raw), maxRawBlock)]
		raw = raw[len(part):]
		s.frame = appendRawBlock(s.frame, part, len(raw) == 0)
	}
	h.length = uint32(len(s.frame) + 4)
	h.body = crc32.Checksum(s.frame[headSize:], castagnoli)
	h.appendTo(s.frame[:0])
	copy(s.content, s.frame[zstdHead:headSize])
	s.frame = binary.LittleEndian.AppendUint32(s.frame, contentChecksum(s.content))
	return s.frame, nil
}

func appendRawBlock(b, data []byte, last bool) []byte {
	header := len(data) << 3
	if last {
		header |= 1
	}
	return append(append(b, byte(header), byte(header>>8), byte(header>>16)), data...)
}

// blocks are the zstd blocks of data, none of them marked as the last, and
// where the header of the last one is; -1: there is none.
func (s *sealer) blocks(data []byte) (blocks []byte, last int) {
	if len(data) == 0 {
		return nil, -1
	}
	s.compressed = s.enc.EncodeAll(data, s.compressed[:0])
	// The zstd header's length follows from its descriptor: magic, descriptor,
	// no window (single segment), no dictionary, content size.
	sizes := [4]int{1, 2, 4, 8}
	blocks = s.compressed[4+1+sizes[s.compressed[4]>>6]:]
	for at := 0; at < len(blocks); {
		last = at
		header := uint32(blocks[at]) | uint32(blocks[at+1])<<8 | uint32(blocks[at+2])<<16
		size := int(header >> 3)
		if header>>1&3 == 1 { // one byte, repeated
			size = 1
		}
		at += 3 + size
	}
	blocks[last] &^= 1
	return blocks, last
}

// opener takes frames apart.
type opener struct{ dec *zstd.Decoder }

func newOpener() *opener {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(MaxContent))
	if err != nil {
		panic("recording: zstd options: " + err.Error())
	}
	return &opener{dec: dec}
}

var (
	errBody   = errors.New("the checksum of the frame is wrong")
	errLength = errors.New("the content is not as long as the frame says")
)

// open checks a whole frame and gives its content without the preface: what
// was compressed, and what was not. They are in the memory of buf, which grows.
func (o *opener) open(h *head, frame []byte, buf *[]byte) (compressed, raw []byte, err error) {
	// Some flipped bits would not change what the blocks decode to.
	if crc32.Checksum(frame[headSize:len(frame)-4], castagnoli) != h.body {
		return nil, nil, errBody
	}
	content, err := o.dec.DecodeAll(frame, (*buf)[:0])
	if err != nil {
		return nil, nil, err
	}
	*buf = content
	if len(content) != int(h.content) {
		return nil, nil, errLength
	}
	split := len(content) - int(h.raw)
	return content[prefaceSize:split], content[split:], nil
}

// zigzag makes small numbers of small differences of either sign.
func zigzag(v int64) uint64 { return uint64(v<<1) ^ uint64(v>>63) }

func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// fields reads numbers off a buffer. What is not there reads as 0 and makes it
// bad.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) uvarint() uint64 {
	v, n := binary.Uvarint(f.b)
	if n <= 0 {
		f.b, f.bad = nil, true
		return 0
	}
	f.b = f.b[n:]
	return v
}

func (f *fields) varint() int64 { return unzigzag(f.uvarint()) }

// count reads a number that is at most limit.
func (f *fields) count(limit int) int {
	v := f.uvarint()
	if limit < 0 || v > uint64(limit) {
		f.b, f.bad = nil, true
		return 0
	}
	return int(v)
}

// bytes reads the next n bytes, where n is a number before them.
func (f *fields) bytes() []byte { return f.take(f.count(math.MaxInt32)) }

func (f *fields) take(n int) []byte {
	if n > len(f.b) {
		f.b, f.bad = nil, true
		return nil
	}
	b := f.b[:n:n]
	f.b = f.b[n:]
	return b
}

func appendBytes(b, data []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(data))), data...)
}
