package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// inserter fills the flow table with more flows than conntrack takes: copies of one entry that the datapath learned,
// other ports apart. The place of what differs comes from the map's own type information.
type inserter struct {
	table                       *ebpf.Map
	key, value                  []byte
	stamp, cookie, sport, dport uint32 // offsets in the value, bytes
}

// insertBatch is how many entries one system call writes.
const insertBatch = 4096

var errNoEntry = errors.New("the datapath has not learned the flow that is to be copied")

// newInserter opens the table pinned in dir and takes its entry of UDP packets from the device as the model.
func newInserter(dir string, six bool, from device) (_ *inserter, err error) {
	name := "flows4"
	if six {
		name = "flows6"
	}
	m, err := ebpf.LoadPinnedMap(filepath.Join(dir, name), nil)
	if err != nil {
		return nil, fmt.Errorf("open flow table: %w", err)
	}
	in := &inserter{table: m}
	defer func() {
		if err != nil {
			_ = m.Close()
		}
	}()
	if err := in.layout(); err != nil {
		return nil, fmt.Errorf("read layout of the flow table: %w", err)
	}
	var key, value []byte
	for it := m.Iterate(); it.Next(&key, &value); {
		if binary.NativeEndian.Uint32(key) == uint32(from.index)<<8|unix.IPPROTO_UDP {
			in.key, in.value = append([]byte(nil), key...), append([]byte(nil), value...)
		}
	}
	if in.key == nil {
		return nil, errNoEntry
	}
	return in, nil
}

// layout finds the members of struct hot, with which every entry begins.
func (in *inserter) layout() error {
	info, err := in.table.Info()
	if err != nil {
		return err
	}
	id, ok := info.BTFID()
	if !ok {
		return errors.New("the map has no type information")
	}
	h, err := btf.NewHandleFromID(id)
	if err != nil {
		return err
	}
	defer h.Close() //nolint:errcheck // read only
	spec, err := h.Spec(nil)
	if err != nil {
		return err
	}
	var hot *btf.Struct
	if err := spec.TypeByName("hot", &hot); err != nil {
		return err
	}
	at := map[string]uint32{}
	for _, m := range hot.Members {
		at[m.Name] = m.Offset.Bytes()
	}
	for name, to := range map[string]*uint32{"stamp": &in.stamp, "cookie": &in.cookie, "sport": &in.sport, "dport": &in.dport} {
		if *to, ok = at[name]; !ok {
			return fmt.Errorf("struct hot has no member %s", name)
		}
	}
	return nil
}

// fill writes the entries of flows 0 ... n-1, all with a lease that begins now.
func (in *inserter) fill(n int) error {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &ts); err != nil {
		return fmt.Errorf("read clock: %w", err)
	}
	binary.NativeEndian.PutUint64(in.value[in.stamp:], uint64(ts.Nano()))
	// The library wants as many elements of keys as of values, whose sizes are known only now.
	keys, values := elements(len(in.key)), elements(len(in.value))
	for first := 0; first < n; first += insertBatch {
		count := min(insertBatch, n-first)
		for i := range count {
			in.entry(first + i)
			reflect.Copy(keys.Index(i), reflect.ValueOf(in.key))
			reflect.Copy(values.Index(i), reflect.ValueOf(in.value))
		}
		if _, err := in.table.BatchUpdate(keys.Slice(0, count).Interface(), values.Slice(0, count).Interface(), nil); err != nil {
			return fmt.Errorf("fill flow table: %w", err)
		}
	}
	return nil
}

// elements is a slice of insertBatch arrays of so many bytes.
func elements(size int) reflect.Value {
	array := reflect.ArrayOf(size, reflect.TypeFor[byte]())
	return reflect.MakeSlice(reflect.SliceOf(array), insertBatch, insertBatch)
}

// entry makes key and value those of flow i.
func (in *inserter) entry(i int) {
	ports := in.key[len(in.key)-4:]
	binary.BigEndian.PutUint16(ports, uint16(clientPort+i%(1<<portBits)))
	binary.BigEndian.PutUint16(ports[2:], uint16(serverPort+i>>portBits))
	copy(in.value[in.sport:], ports[:2])
	copy(in.value[in.dport:], ports[2:])
	binary.NativeEndian.PutUint32(in.value[in.cookie:], cookie(in.key))
}

func (in *inserter) close() error { return in.table.Close() }

// cookie is what the programs tell a recycled element by: cookie4 and cookie6 of datapath's bpf/flow.h. Should they
// change, the inserted flows all go slow with reason "recycled".
func cookie(key []byte) uint32 {
	word := func(at int) uint32 { return binary.NativeEndian.Uint32(key[at:]) }
	half := func(at int) uint32 { return uint32(binary.NativeEndian.Uint16(key[at:])) }
	const m1, m2 = 0x9e3779b1, 0x85ebca6b
	ports := half(len(key)-4)<<16 | half(len(key)-2)
	if len(key) == 16 { // struct key4: port, saddr, daddr, sport, dport
		return (word(4)*m1^word(8))*m2 ^ ports ^ word(0)
	}
	a := word(4) ^ word(8)*3 ^ word(12)*5 ^ word(16)*m1
	b := word(20) ^ word(24)*3 ^ word(28)*5 ^ word(32)*m2
	return a*m1 ^ b ^ ports ^ word(0)
}
