package bpfgen

import (
	"encoding/binary"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
)

// maps collects the maps of a program.
type maps struct {
	share    *share.Share
	list     []Map
	sets     map[int]table
	literals map[string]table // by contents
}

func newMaps(s *share.Share) *maps {
	return &maps{share: s, sets: map[int]table{}, literals: map[string]table{}}
}

// add adds a map and returns its name.
func (m *maps) add(x Map) string {
	m.list = append(m.list, x)
	return x.Name
}

const noSet = -1

// appendWords adds a value as it is in a map.
func appendWords(b []byte, v space.Value, bits int) []byte {
	if words(bits) == 2 {
		b = binary.NativeEndian.AppendUint64(b, v.Hi)
	}
	return binary.NativeEndian.AppendUint64(b, v.Lo)
}
