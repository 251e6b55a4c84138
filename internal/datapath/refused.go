package datapath

import (
	"net/netip"
	"time"

	"github.com/cilium/ebpf"

	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/reason"
)

// Refused is one direction of a flow that the ruleset handed over and that the observer learned nothing from.
type Refused struct {
	In, Out uint32       // ifindexes; In is the device above where that one is what was refused
	Tuple   packet.Tuple // as it arrives
	Reason  reason.Reason
	// Samples counts the packets that were looked at: at most one a CPU and millisecond, of all flows together.
	Samples uint64
	Ago     time.Duration // since the last sample
}

// Refused lists what was refused lately, one element a flow, direction and reason, in no order. There is room for 1024;
// the ones not seen for longest make room.
func (d *Datapath) Refused() ([]Refused, error) { return d.samples(d.maps.Refused) }

// Passed lists what was seen lately of packets that are refused before anybody looks whether their flow was handed over:
// untracked ones, ones that were queued for long, and ones whose ports cannot be read (these are zero, and so is the
// protocol). It is sampled as Refused is, and has as much room.
func (d *Datapath) Passed() ([]Refused, error) { return d.samples(d.maps.Passed) }

func (d *Datapath) samples(m *ebpf.Map) ([]Refused, error) {
	var out []Refused
	now, reasons := d.clock.now(), Reasons()
	err := eachBatch(m, func(k nfoRefusedKey, v nfoRefusal) {
		out = append(out, Refused{
			In: k.In, Out: k.Out, Reason: reasonOf(uint32(k.Reason), reasons), Samples: v.Packets, Ago: since(now, v.Time),
			Tuple: packet.Tuple{
				Src: netip.AddrPortFrom(wordsAddr(k.Family, k.Saddr), swap16(k.Sport)),
				Dst: netip.AddrPortFrom(wordsAddr(k.Family, k.Daddr), swap16(k.Dport)), Proto: k.Proto,
			},
		})
	})
	return out, err
}

// settled is how many samples a flow leaves at least that waits in vain. One that gets what it waits for, or ends before
// it does, leaves fewer.
const settled = 16

// Lasting reports whether the flow stays slow for its reason, which is not one of a packet or of a moment.
func (r Refused) Lasting() bool {
	switch r.Reason {
	case reason.SlowTCPFlags, reason.EntryDead, reason.EntryNotReady, reason.EntryRecycled, reason.SeenContradiction, reason.SeenMinPackets:
		return false
	case reason.SeenOneWay, reason.SeenNotLiberal, reason.SeenTCPState, reason.SeenCTState:
		return r.Samples >= settled
	default:
		return true
	}
}
