package bpfgen

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
)

// Sizes of what maps have by default.
const (
	maxElements = 1 << 20 // of a named set that has no size of its own
	// preallocated is the largest hash whose elements are allocated with it.
	preallocated = 1 << 16
)

// maps collects the maps of a program.
type maps struct {
	share    *share.Share
	list     []Map
	sets     map[int]string
	literals map[string]string // by contents
}

func newMaps(s *share.Share) *maps {
	return &maps{share: s, sets: map[int]string{}, literals: map[string]string{}}
}

// add adds a map and returns its name.
func (m *maps) add(x Map) string {
	m.list = append(m.list, x)
	return x.Name
}

// set is the map of a named set that some fields are looked up in.
func (m *maps) set(i int, fs []share.Field) (string, error) {
	if i < 0 || i >= len(m.share.Sets) {
		return "", fmt.Errorf("look up in set %d: there is none: %w", i, ErrUnsupported)
	}
	s := &m.share.Sets[i]
	n, ok := 0, len(fs) == len(s.Parts)
	for j, p := range s.Parts {
		n += words(p.Bits)
		ok = ok && words(p.Bits) == words(fs[j].At.Len)
	}
	if !ok {
		return "", fmt.Errorf("look up %d fields in set %s, whose keys are not of that kind: %w", len(fs), s.Name, ErrUnsupported)
	}
	if s.Ranges {
		return "", fmt.Errorf("look up in set %s, which has intervals: %w", s.Name, ErrUnsupported)
	}
	if name, ok := m.sets[i]; ok {
		return name, nil
	}
	size := s.Size
	if size == 0 {
		size = maxElements
	}
	name := m.add(Map{
		Name: fmt.Sprintf("set%d", i), Kind: Hash, KeySize: uint32(8 * n), ValueSize: 4, Entries: uint32(size),
		NoPrealloc: size > preallocated, Set: i, Words: n,
	})
	m.sets[i] = name
	return name, nil
}

// literal is a map of the exact keys of a condition.
func (m *maps) literal(fs []share.Field, keys []share.Key) string {
	x := Map{Kind: Hash, ValueSize: 4, Set: noSet}
	for _, f := range fs {
		x.Words += words(f.At.Len)
	}
	x.KeySize = uint32(8 * x.Words)
	var contents strings.Builder
	seen := map[string]bool{}
	for _, k := range keys {
		b := keyBytes(fs, k)
		if seen[string(b)] {
			continue
		}
		seen[string(b)] = true
		contents.Write(b)
		x.Contents = append(x.Contents, Pair{Key: b, Value: make([]byte, x.ValueSize)})
	}
	id := fmt.Sprintf("%d %s", x.KeySize, contents.String())
	if name, ok := m.literals[id]; ok {
		return name
	}
	x.Entries = uint32(len(x.Contents))
	x.Name = fmt.Sprintf("literal%d", len(m.literals))
	m.literals[id] = m.add(x)
	return x.Name
}

const noSet = -1

// keyBytes is an exact key as it is in a map.
func keyBytes(fs []share.Field, k share.Key) []byte {
	var b []byte
	for i, f := range fs {
		b = appendWords(b, k[i].First, f.At.Len)
	}
	return b
}

func appendWords(b []byte, v space.Value, bits int) []byte {
	if words(bits) == 2 {
		b = binary.NativeEndian.AppendUint64(b, v.Hi)
	}
	return binary.NativeEndian.AppendUint64(b, v.Lo)
}
