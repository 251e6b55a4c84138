package datapath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// entry is one direction of a flow as read from a map, either family.
type entry struct {
	key4 nfoKey4
	key6 nfoKey6
	v6   bool
	hot  nfoHot
	cold nfoCold
	nat  packet.Tuple
}

const batch = 1024

// each calls f for every entry, both families. An entry that is inserted or deleted meanwhile may be missed or come
// twice; the map is never locked.
func (d *Datapath) each(f func(*entry)) error {
	err := eachBatch(d.maps.Flows4, func(k nfoKey4, v nfoFlow4) {
		f(&entry{key4: k, hot: v.Hot, cold: v.Cold, nat: packet.Tuple{
			Src: addrPort4(v.Saddr[0], v.Hot.Sport), Dst: addrPort4(v.Daddr[0], v.Hot.Dport), Proto: uint8(k.Port),
		}})
	})
	if err != nil {
		return err
	}
	return eachBatch(d.maps.Flows6, func(k nfoKey6, v nfoFlow6) {
		f(&entry{key6: k, v6: true, hot: v.Hot, cold: v.Cold, nat: packet.Tuple{
			Src: addrPort6(v.Saddr, v.Hot.Sport), Dst: addrPort6(v.Daddr, v.Hot.Dport), Proto: uint8(k.Port),
		}})
	})
}

func eachBatch[K, V any](m *ebpf.Map, f func(K, V)) error {
	keys, values := make([]K, batch), make([]V, batch)
	var cursor ebpf.MapBatchCursor
	size := batch
	for {
		n, err := m.BatchLookup(&cursor, keys[:size], values[:size], nil)
		if errors.Is(err, unix.ENOSPC) {
			// One bucket holds more than the buffers.
			size *= 2
			keys, values = slices.Grow(keys[:0], size)[:size], slices.Grow(values[:0], size)[:size]
			continue
		}
		for i := range n {
			f(keys[i], values[i])
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read flows: %w", err)
		}
	}
}

func addrPort4(a uint32, port uint16) netip.AddrPort {
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], a)
	return netip.AddrPortFrom(netip.AddrFrom4(b), swap16(port))
}

func addrPort6(a [4]uint32, port uint16) netip.AddrPort {
	var b [16]byte
	for i, w := range a {
		binary.NativeEndian.PutUint32(b[4*i:], w)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(b), swap16(port))
}

// swap16 turns a port as the maps hold it (network byte order, loaded natively) into a number, and back.
func swap16(p uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], p)
	return binary.BigEndian.Uint16(b[:])
}

func (e *entry) tuple() packet.Tuple {
	if e.v6 {
		return packet.Tuple{Src: addrPort6(e.key6.Saddr, e.key6.Sport), Dst: addrPort6(e.key6.Daddr, e.key6.Dport), Proto: uint8(e.key6.Port)}
	}
	return packet.Tuple{Src: addrPort4(e.key4.Saddr[0], e.key4.Sport), Dst: addrPort4(e.key4.Daddr[0], e.key4.Dport), Proto: uint8(e.key4.Port)}
}

func (e *entry) state() State { return State(e.hot.Word & 0xff) }

// idle is the time since the last packet. It may have come after now was read; and ticks wrap, so what is idle for 26
// days counts as busy, which no entry is under a daemon that sweeps.
func (e *entry) idle(now uint64) time.Duration {
	return time.Duration(max(0, int32(uint32(now>>20)-e.hot.Last))) * tick
}

// Flows lists the entries, in no order.
func (d *Datapath) Flows() ([]Flow, error) {
	var out []Flow
	now, reasons := d.clock.now(), Reasons()
	hard := d.hardLimit(now)
	adjs := map[uint32]nfoAdj{}
	var lookup error
	err := d.each(func(e *entry) {
		a, ok := adjs[e.hot.Adj]
		if !ok {
			lookup = errors.Join(lookup, d.maps.Adjs.Lookup(e.hot.Adj, &a))
			adjs[e.hot.Adj] = a
		}
		out = append(out, Flow{
			In: a.InIfindex, Out: a.Ifindex, Hook: Hook(a.Hook), Tuple: e.tuple(), NAT: e.nat,
			DstMAC: a.Out[:6:6], SrcMAC: a.Out[6:12:12], State: e.state(),
			Packets: e.hot.Packets, Bytes: e.hot.Bytes, Slow: uint64(e.cold.Slow),
			Age: since(now, e.cold.Born), Idle: e.idle(now), Lease: hard - since(now, e.hot.Stamp),
			MaxLen: e.hot.MaxLen, Priority: a.Priority, Mark: a.Mark,
			Missed: e.cold.Missed, MissedWhy: reasonOf(uint32(e.cold.MissedWhy), reasons), MissedAgo: since(now, e.cold.MissedAt),
		})
	})
	return out, errors.Join(err, lookup)
}

// since is now - then, not below zero: an entry may have been stamped after now was read.
func since(now, then uint64) time.Duration {
	if then > now {
		return 0
	}
	return time.Duration(now - then)
}

// hardLimit is the limit in force.
func (d *Datapath) hardLimit(now uint64) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now < d.settings.Alive {
		return time.Duration(d.settings.LongHard)
	}
	return d.cfg.Hard
}
