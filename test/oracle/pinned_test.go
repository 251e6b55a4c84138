package oracle

import (
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// pinned opens a map of the box's datapath.
func (b *box) pinned(name string) *ebpf.Map {
	b.t.Helper()
	m, err := ebpf.LoadPinnedMap(filepath.Join(pinRoot, b.r.Router.Name, name), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = m.Close() })
	return m
}

// forget takes a device's record away from under the programs, which stay attached.
func (b *box) forget(dev testkit.Dev) {
	b.t.Helper()
	devices := b.pinned("low_devices")
	if err := devices.Put(uint32(dev.Index), make([]byte, devices.ValueSize())); err != nil {
		b.t.Fatal(err)
	}
}

// recycleAdjacencies gives each adjacency in use a new tag, as if its slot had been recycled for other flows while
// packets are on their way to it.
func (b *box) recycleAdjacencies() {
	b.t.Helper()
	adjs, ids := b.pinned("adjs"), b.pinned("adj_ids")
	tag := b.offset(adjs, "adj", "tag")
	var id uint32
	n := 0
	key, it := make([]byte, ids.KeySize()), ids.Iterate()
	for ; it.Next(&key, &id); n++ {
		adj := make([]byte, adjs.ValueSize())
		if err := adjs.Lookup(id, &adj); err != nil {
			b.t.Fatal(err)
		}
		adj[tag] ^= 1
		if err := adjs.Put(id, adj); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := it.Err(); err != nil || n == 0 {
		b.t.Fatalf("%d adjacencies in use: %v", n, err)
	}
}

// offset is where a member is in the values of a map, as the map's BTF says.
func (b *box) offset(m *ebpf.Map, structure, member string) uint32 {
	b.t.Helper()
	info, err := m.Info()
	if err != nil {
		b.t.Fatal(err)
	}
	id, _ := info.BTFID()
	h, err := btf.NewHandleFromID(id)
	if err != nil {
		b.t.Fatal(err)
	}
	defer h.Close() //nolint:errcheck // only read
	spec, err := h.Spec(nil)
	if err != nil {
		b.t.Fatal(err)
	}
	var s *btf.Struct
	if err := spec.TypeByName(structure, &s); err != nil {
		b.t.Fatal(err)
	}
	for _, mem := range s.Members {
		if mem.Name == member {
			return mem.Offset.Bytes()
		}
	}
	b.t.Fatalf("struct %s has no member %s", structure, member)
	return 0
}
