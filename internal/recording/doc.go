// Package recording writes and reads trace files: everything that a source of
// events gave, in its order, so that whatever can be shown live can be shown
// again. It reads no clock and nothing of the host.
//
// # The file
//
// A trace is a plain zstd stream (RFC 8878) of independent frames, each with
// its content checksum: zstd -t checks it, and any prefix of whole frames is a
// trace. All frames are built alike:
//
//	 byte 0            5              9             12
//	┌────────────────┬──────────────┬─────────────┬──────────────────────────┐
//	│ magic          │ content size │ header of   │ preface: 32 bytes        │
//	│ 28 B5 2F FD A4 │ u32          │ a raw block │ (first raw block)        │
//	├────────────────┴──────────────┴─────────────┴──────────────────────────┤
//	│ compressed blocks: what repeats                                        │
//	├────────────────────────────────────────────────────────────────────────┤
//	│ raw blocks: what is random, such as the ports of peers; may be missing │
//	├────────────────────────────────────────────────────────────────────────┤
//	│ XXH64 of the content, low 32 bits                                      │
//	└────────────────────────────────────────────────────────────────────────┘
//
// The preface is not compressed and says in little-endian numbers:
//
//	byte  0  u8   what the frame is: 1 header, 2 block, 3 index, 4 end
//	      1  u8   flags; 1: entry, the block needs none that came before
//	      2  u8   major version
//	      3  u8   minor version
//	      4  u32  bytes of the whole frame
//	      8  u32  bytes at the end of the content that are in raw blocks
//	     12  u32  events
//	     16  u64  ns of CLOCK_MONOTONIC: the latest time known when it was begun
//	     24  u32  CRC-32C of the blocks, that of the preface left out
//	     28  u32  CRC-32C of bytes 4 to 39 of the frame
//
// So the length of a frame is known from 44 bytes with a checksum of their own.
// Where these are good and the file ends before the frame does, the tail is
// torn: it was cut. Where they are bad, or a checksum of what follows is, the file
// is damaged; reading goes on where the frame ends, or, if that is not known,
// at the next 44 bytes that are good. A frame starts nowhere else than at the
// magic, so a search for it finds all.
//
//	header   block   block   block   ...   index   end
//
// The header is the JSON of Header, with the name and version of the format and
// a description of the columns. The index tells which blocks are entries, how
// many bytes apart, and of what time: pairs of uvarints, after its own offset
// and their number. The end is 8 bytes: how far the index is before it. Both
// only make seeking faster. A trace without an end was not closed. Traces may
// be joined with cat; each begins with its header.
//
// # Blocks
//
// A block holds up to 8192 events and what came between them. Its compressed
// part begins with four uvarints: how many classes, places, threads and columns
// there are. A class is what many events have in common: its kind, flags, state,
// errno, descriptor, a place and a thread. A place is a listener, a local
// address, a network namespace, a device, a backlog, a family and an inode; a
// thread is its process, its number and its name. The columns follow, of one of
// these tables or of the events, in any order (Schema lists them; one that is
// missing is all 0):
//
//	id u8 · encoding u8 · raw uvarint · length uvarint · payload
//
// Encoding 0: the payload is a uvarint that all rows have. Encoding 1: planes,
// first the lowest bytes of all rows, then the next ones; the payload has their
// number, a bit for each that is in the raw part instead, and the others. raw is
// how many bytes of the raw part belong to the column.
//
// After the columns come records, each with the number of events since the
// record before (or the block's beginning):
//
//	events uvarint · type uvarint · length uvarint · payload
//
//	1 sample  flags (1: histograms were asked for, 2: key), time, time since
//	          its key; listeners, their histograms, addresses, accept errors,
//	          losses. A key is in full, another only says what is different from
//	          the key before it: never a chain, so that a lost block takes no
//	          other's samples with it, but for those until the next key. There
//	          is a key at the beginning and every 5 s, and a block begins there.
//	2 mark    what the recorder did: what, time
//	3 clock   CLOCK_MONOTONIC and CLOCK_REALTIME of one moment
//	4 owners  JSON of Owners; since 1.2 it says what is denied to root, too
//	5 losses  what was lost on the way to the file
//	7 evidence  since 1.1: JSON of diagnose.Evidence, of a stall; since 1.2 it
//	          says of a target that it is another listener
//	6 part    of a record of more than 256 KiB: flags (1 first, 2 last), type,
//	          bytes
//
// A list of a sample is its length, and then groups: an even uvarint 2n is n
// rows as the key has them, in its order; an odd one 2r+1 is one row, where r is
// 0 for a new one, or else 1 + zigzag of how many rows of the key are passed
// over; a mask of the columns that are different follows, and the zigzag of each
// difference. A histogram is its greatest wait, 2n + whether that is known, and
// n times how many buckets are passed over and by how much the next one grew.
//
// Losses are their number and, of each, the place of the key's loss that has the
// same words, from 1, and the zigzag of how much its count grew; or 0, a key for
// machines, the words for people, which follow the count, and the count. Since 1.2
// the words are for any count, as quantity.Agree takes them ("event[|s] found the
// buffer full"); before, they were those that go with this one.
//
// # What can be lost
//
// A block is written with one write(2) when it is full or 1 s old, so kill -9
// takes one block or 1 s with it at most. File calls fdatasync at most once a
// second, unless told not to. An error of writing is said at once, as a
// *WriteError, and a frame that is not whole is taken back.
//
// # Bounds
//
// A frame decodes to 1 MiB at most (MaxContent), a record is 16 MiB long at most
// (MaxRecord), and a sample has MaxRows rows a list and MaxBuckets buckets at
// most. A reader takes less than MaxMemory, whatever the file says.
//
// # Size
//
// An accepted connection takes 13 to 15 bytes (TestBytesPerAcceptedConnection,
// 100,000 to 1,000 a second), of which 6 are the address and port of its peer,
// which are as good as random.
//
// # Compatibility
//
// A program reads the traces of all earlier versions of itself, of any major
// version: a table (formats) upgrades what they hold, and testdata has a trace
// of each version, which is never changed. A minor version adds columns,
// records, frames or fields of JSON, and a program skips those that it does not
// know and counts them (Reader.Skipped). Whatever else changes is a new major
// version, which an older program refuses with a *VersionError. What is never
// changed, in any version, are the first 44 bytes of a frame.
package recording
