package oracle

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/conntrack"
	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// refusal produces one reason and nothing fast by it.
type refusal struct {
	reason reason.Reason
	rules  string // beside the hand-over
	cfg    datapath.Config
	proto  uint8
	six    bool
	only   datapath.Hook // 0: both
	// do provokes it on a flow that is ready, or with tuples of its own.
	do func(b *box, tuples [2]packet.Tuple)
	// fresh flows are not made ready first.
	fresh bool
	// carries says of a fresh flow that other packets of it may be fast all the same.
	carries bool
}

// frame is a frame from the client with something changed.
func (b *box) frame(t packet.Tuple, change func(*packet.Spec)) []byte {
	s := packet.New(t, make([]byte, 40))
	b.macs(&s, client)
	change(&s)
	return s.Build()
}

// odd sends one changed frame of the flow from the client.
func odd(change func(*packet.Spec)) func(*box, [2]packet.Tuple) {
	return func(b *box, tuples [2]packet.Tuple) { b.pass(client, b.frame(tuples[client], change), 0) }
}

// plain sends frames of the flow from both sides.
func plain(b *box, tuples [2]packet.Tuple) {
	for range 3 {
		for side, t := range tuples {
			s := packet.New(t, make([]byte, 40))
			b.macs(&s, side)
			b.pass(side, s.Build(), 0)
		}
	}
}

func packetRefusals() []refusal {
	return []refusal{
		{reason: reason.SlowNotIP, do: odd(func(s *packet.Spec) { s.EtherType = packet.EtherTypeARP })},
		{reason: reason.SlowEncap, do: odd(func(s *packet.Spec) {
			s.Tags = []packet.Tag{{TPID: packet.EtherTypeQinQ, TCI: 9}, {TPID: packet.EtherTypeVLAN, TCI: 10}, {TPID: packet.EtherTypeVLAN, TCI: 11}}
		})},
		{reason: reason.SlowNotTCPUDP, do: odd(func(s *packet.Spec) { s.Tuple.Proto = 1 })},
		{reason: reason.SlowMalformed, do: odd(func(s *packet.Spec) { s.LenDelta = 100 })},
		{reason: reason.SlowIPOptions, do: odd(func(s *packet.Spec) { s.Options = []byte{1, 1, 1, 0} })},
		{reason: reason.SlowExtHeader, six: true, do: odd(func(s *packet.Spec) {
			s.Extensions = []packet.Extension{{Proto: 60, Body: []byte{1, 4, 0, 0, 0, 0}}}
		})},
		{reason: reason.SlowFragment, do: odd(func(s *packet.Spec) { s.MF = true })},
		{reason: reason.SlowTTL, do: odd(func(s *packet.Spec) { s.TTL = 1 })},
		{reason: reason.SlowIPChecksum, do: odd(func(s *packet.Spec) { s.Wrong = packet.WrongIPChecksum })},
		{reason: reason.SlowTCPFlags, proto: packet.TCP, do: odd(func(s *packet.Spec) { s.Flags = packet.FIN | packet.ACK })},
		{reason: reason.SlowUDPNoChecksum, six: true, do: odd(func(s *packet.Spec) { s.Wrong = packet.NoChecksum })},
		{reason: reason.SlowPartialChecksum, only: datapath.HookXDP, do: odd(func(s *packet.Spec) { s.Wrong = packet.PartialChecksum })},
		{reason: reason.EntryMAC, do: odd(func(s *packet.Spec) { s.Src = packet.MAC{2, 0, 0, 0, 1, 9} })},
		{reason: reason.EntryDSCP, do: odd(func(s *packet.Spec) { s.TOS = 0xb8 })},
		{reason: reason.EntryTooLong, do: odd(func(s *packet.Spec) { s.Payload = make([]byte, 1300) })},
	}
}

func tableRefusals() []refusal {
	short := datapath.Config{Due: 20 * time.Millisecond, Hard: 40 * time.Millisecond}
	return []refusal{
		{reason: reason.EntryMiss, fresh: true, carries: true, do: plain},
		{reason: reason.EntryNotReady, fresh: true, proto: packet.TCP, do: func(b *box, tuples [2]packet.Tuple) {
			b.illiberal(tuples[client])
			plain(b, tuples)
		}},
		{reason: reason.EntryRenewal, cfg: datapath.Config{Due: time.Nanosecond, Hard: time.Hour}, do: func(b *box, tuples [2]packet.Tuple) {
			b.pause("a gap between packets", 20*time.Millisecond)
			plain(b, tuples)
		}},
		{reason: reason.EntryExpired, cfg: short, do: func(b *box, tuples [2]packet.Tuple) {
			b.await("an expired lease", func() bool { return b.lease() < -clockTick })
			plain(b, tuples)
		}},
		{reason: reason.EntryGeneration, do: func(b *box, tuples [2]packet.Tuple) {
			if err := b.d.Bump(); err != nil {
				b.t.Fatal(err)
			}
			b.pause("the end of the soft limit", 120*time.Millisecond)
			plain(b, tuples)
		}},
		{reason: reason.EntryCTGone, do: func(b *box, tuples [2]packet.Tuple) {
			if err := b.ct.Delete(tuples[client]); err != nil {
				b.t.Fatal(err)
			}
			b.pause("the next look at conntrack", 120*time.Millisecond)
			plain(b, tuples)
		}},
		{reason: reason.EntryDead, proto: packet.TCP, do: func(b *box, tuples [2]packet.Tuple) {
			odd(func(s *packet.Spec) { s.Flags = packet.FIN | packet.ACK })(b, tuples)
			plain(b, tuples)
		}},
		{reason: reason.EntryRecycled, do: func(b *box, tuples [2]packet.Tuple) {
			b.recycleAdjacencies()
			before := b.fast()
			plain(b, tuples)
			if b.fast() != before {
				b.t.Errorf("a packet took an adjacency that is not its flow's any more: %s", b.reasons())
			}
		}},
		{reason: reason.SeenTableFull, cfg: datapath.Config{MaxFlows: 1}, fresh: true, do: plain},
	}
}

func observerRefusals() []refusal {
	mangle := "table inet m {\n chain p {\n type filter hook forward priority 10; policy accept\n %s\n }\n}\n"
	raw := "table inet m {\n chain p {\n type filter hook prerouting priority -300; policy accept\n %s\n }\n}\n"
	return []refusal{
		{reason: reason.SeenAltered, fresh: true, rules: fmt.Sprintf(mangle, "ip dscp set cs1"), do: plain},
		{reason: reason.SeenAltered, fresh: true, rules: fmt.Sprintf(mangle, "ip ttl set 20"), do: plain},
		{reason: reason.SeenUntracked, fresh: true, rules: fmt.Sprintf(raw, "udp dport 2001 notrack\nudp sport 2001 notrack"), do: plain},
		{reason: reason.SeenZone, fresh: true, rules: fmt.Sprintf(raw, "ct zone set 5"), do: plain},
		{
			reason: reason.SeenHelper, fresh: true, proto: packet.TCP, do: plain,
			rules: "table inet h {\n ct helper ftp {\n type \"ftp\" protocol tcp\n }\n chain p {\n type filter hook prerouting priority 0; policy accept\n ct helper set \"ftp\"\n }\n}\n",
		},
		{reason: reason.SeenNotAdded, fresh: true, rules: "flush chain inet handover forward\nadd rule inet handover forward ct state established accept\n", do: plain},
		{reason: reason.SeenCTState, fresh: true, carries: true, rules: fmt.Sprintf(mangle, "ct label set 127"), do: func(b *box, tuples [2]packet.Tuple) {
			// A flow that nobody answers stays new.
			odd(func(s *packet.Spec) { s.Tuple.Src = netip.AddrPortFrom(s.Tuple.Src.Addr(), 7777) })(b, tuples)
		}},
		{reason: reason.SeenTCPState, fresh: true, proto: packet.TCP, do: func(b *box, tuples [2]packet.Tuple) {
			odd(func(s *packet.Spec) { s.Flags = packet.FIN | packet.ACK })(b, tuples)
			plain(b, tuples)
		}},
		{reason: reason.SeenNotLiberal, fresh: true, proto: packet.TCP, do: func(b *box, tuples [2]packet.Tuple) {
			b.illiberal(tuples[client])
			plain(b, tuples)
		}},
		// The server's first packet is learned while the client's side is not.
		{reason: reason.SeenOneWay, fresh: true, do: func(*box, [2]packet.Tuple) {}},
		{reason: reason.SeenMinPackets, cfg: datapath.Config{MinPackets: 200}, fresh: true, do: plain},
		{reason: reason.SeenLearned, fresh: true, carries: true, do: plain},
		{reason: reason.SeenRenewed, cfg: datapath.Config{Due: time.Nanosecond, Hard: time.Hour}, do: func(b *box, tuples [2]packet.Tuple) {
			b.pause("a gap between packets", 20*time.Millisecond)
			plain(b, tuples)
		}},
		// What the client sends is another flow to conntrack than on the wire.
		{reason: reason.SeenTupleMismatch, fresh: true, rules: fmt.Sprintf(raw, "udp sport 10001 udp sport set 10900"), do: plain},
		{reason: reason.SeenContradiction, do: func(b *box, tuples [2]packet.Tuple) {
			b.r.Router.Run("ip", "neigh", "replace", "198.51.100.2", "lladdr", "02:00:00:00:02:77", "dev", "r1", "nud", "permanent")
			if err := b.d.Bump(); err != nil {
				b.t.Fatal(err)
			}
			plain(b, tuples)
		}},
		// A device goes while packets are between the two hooks: its record is the first thing to go.
		{reason: reason.SeenUnknownDevice, fresh: true, do: func(b *box, tuples [2]packet.Tuple) {
			b.forget(b.r.R1)
			plain(b, tuples)
		}},
		{reason: reason.SeenDeviceRefused, fresh: true, do: func(b *box, tuples [2]packet.Tuple) {
			devices := b.devices()
			devices[1].Refused = true
			if err := b.r.Router.Do(func() error { return b.d.Apply(devices) }); err != nil {
				b.t.Fatal(err)
			}
			plain(b, tuples)
		}},
		{reason: reason.SeenHeld, fresh: true, do: func(b *box, tuples [2]packet.Tuple) {
			if err := b.d.Hold(datapath.Hold{Port: tuples[client].Src.Port(), Proto: packet.UDP, Left: time.Minute}); err != nil {
				b.t.Fatal(err)
			}
			plain(b, tuples)
		}},
	}
}

// TestEachReasonIsProducedAndCounted provokes every reason that one box and one flow are enough for, and checks that its
// counter moved and that no packet of it was fast.
func TestEachReasonIsProducedAndCounted(t *testing.T) {
	all := refusals()
	for _, hook := range []datapath.Hook{datapath.HookTC, datapath.HookXDP} {
		for i, r := range all {
			if r.only != 0 && r.only != hook {
				continue
			}
			t.Run(fmt.Sprintf("%s/%s#%d", hook, r.reason, i), func(t *testing.T) {
				t.Parallel()
				produce(t, hook, r)
			})
		}
	}
}

// refusals are those of one flow that need no more than a box.
func refusals() []refusal {
	return slices.Concat(packetRefusals(), tableRefusals(), observerRefusals())
}

func produce(t *testing.T, hook datapath.Hook, r refusal) {
	t.Helper()
	if r.cfg.MaxFlows == 0 {
		r.cfg.MaxFlows = 256
	}
	if r.proto == 0 {
		r.proto = packet.UDP
	}
	b := newBoxWith(t, hook, r.rules, r.cfg)
	tuples := b.connect(b.tuple(nats()[0], r.proto, r.six, 1))
	if !r.fresh {
		plain(b, tuples)
		if b.fast() == 0 && r.cfg.Due != time.Nanosecond {
			t.Fatalf("the flow was not fast before: %s", b.reasons())
		}
	}
	before := uint64(0)
	if !r.fresh {
		before = b.count(r.reason)
	}
	r.do(b, tuples)
	if b.count(r.reason) == before {
		t.Errorf("%s was not counted: %s", r.reason, b.reasons())
	}
	if fast := b.fast(); r.fresh && !r.carries && fast != 0 {
		t.Errorf("%d packets were fast in spite of %s", fast, r.reason)
	}
}

// illiberal takes back what the daemon set on a TCP connection.
func (b *box) illiberal(orig packet.Tuple) {
	b.t.Helper()
	if err := b.ct.SetFlags(orig, 0, conntrack.BeLiberal); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) count(r reason.Reason) uint64 {
	b.t.Helper()
	st, err := b.d.Stats()
	if err != nil {
		b.t.Fatal(err)
	}
	return st.Reasons[r].Packets
}

// lease is the longest that is left to any entry.
func (b *box) lease() time.Duration {
	flows, err := b.d.Flows()
	if err != nil {
		b.t.Fatal(err)
	}
	most := -time.Hour
	for _, f := range flows {
		most = max(most, f.Lease)
	}
	return most
}

// clockTick is how far the programs' coarse clock may be behind, on a kernel with CONFIG_HZ=100.
const clockTick = 10 * time.Millisecond

// pause lets time pass for what depends on time alone.
func (b *box) pause(what string, d time.Duration) {
	b.t.Helper()
	start := time.Now()
	b.await(what, func() bool { return time.Since(start) > d })
}

func (b *box) await(what string, ok func() bool) {
	b.t.Helper()
	if err := testkit.Await(deadline, func() error {
		if !ok() {
			return fmt.Errorf("still waiting for %s", what)
		}
		return nil
	}); err != nil {
		b.t.Fatal(err)
	}
}
