package bpfgen

import (
	"encoding/binary"
	"fmt"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
)

// maps collects the maps of a program.
type maps struct {
	share    *share.Share
	list     []Map
	tables   int    // of rules
	actions  []Pair // of ActionMap
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

// tableName is a name for the next table of rules.
func (m *maps) tableName() string {
	m.tables++
	return fmt.Sprintf("table%d", m.tables-1)
}

// act adds what an entry does, whose place it is.
func (m *maps) act(entry int, value []byte) {
	m.actions = append(m.actions, Pair{Key: binary.NativeEndian.AppendUint32(nil, uint32(entry)), Value: value})
}

const noSet = -1

// appendWords adds a value as it is in a map.
func appendWords(b []byte, v space.Value, bits int) []byte {
	if words(bits) == 2 {
		b = binary.NativeEndian.AppendUint64(b, v.Hi)
	}
	return binary.NativeEndian.AppendUint64(b, v.Lo)
}
