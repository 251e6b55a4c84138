package testkit

import (
	"encoding/binary"
	"hash"
	"hash/crc32"
	"io"
	"math/rand/v2"
)

// patternBlock is how many bytes of a stream share one random block.
const patternBlock = 64 << 10

// pattern is an endless stream of bytes that differs in every block: a random block whose first 8 bytes count.
// A lost, doubled or swapped piece changes its checksum. Cheap enough for gigabytes on one core.
type pattern struct {
	block []byte
	n     uint64 // blocks begun
	left  []byte
}

func newPattern(seed uint64) *pattern {
	p := &pattern{block: make([]byte, patternBlock)}
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	_, _ = r.Read(p.block) // documented never to fail
	return p
}

// Read implements io.Reader; it never fails.
func (p *pattern) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		binary.LittleEndian.PutUint64(p.block, p.n)
		p.n++
		p.left = p.block
	}
	n := copy(b, p.left)
	p.left = p.left[n:]
	return n, nil
}

// crcTable returns the CRC-32C table: the polynomial that CPUs compute.
func crcTable() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// hashed is a writer that counts and hashes what passes.
type hashed struct {
	h hash.Hash32
	n int64
}

func newHashed() *hashed { return &hashed{h: crc32.New(crcTable())} }

func (h *hashed) Write(b []byte) (int, error) {
	h.n += int64(len(b))
	return h.h.Write(b)
}

var _ io.Writer = (*hashed)(nil)
