package why

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/packet"
)

// Snapshot is one look at what changes from second to second. Connections and entries are those that are meant; refusals
// are all there are, because they are known by one direction only.
type Snapshot struct {
	Connections []Connection
	Entries     []engine.Flow    // of the datapath
	Refused     []engine.Refused // all of them, those that pass by themselves too
	Reasons     []engine.Count   // of all packets of the machine
}

// Flow is a connection with all that is known of it.
type Flow struct {
	Conn   *Connection // nil: not in conntrack
	Before *Connection // the same at the first look; nil: not there
	// Tuple is the first direction's as it arrives.
	Tuple packet.Tuple
	// Dirs are the original direction and the reply.
	Dirs [2]Direction
	// In is the device towards who began the flow, Out the one towards the other end. Empty: not known.
	In, Out string
	// Back is the device that the routing table sends answers by to who began the flow; empty: not known.
	Back string
	// NoNeighbor is a next hop whose MAC address is not known; not valid: none that is known of.
	NoNeighbor netip.Addr
	// RoutedIn and RoutedOut say that In or Out is what the routing table says now, and not what was seen.
	RoutedIn, RoutedOut bool
	Local               bool // begins or ends on this machine
}

// Direction is what the datapath knows of one direction.
type Direction struct {
	Tuple packet.Tuple
	Entry *engine.Flow // nil: none
	// Fast and Slow are the packets between the two looks.
	Fast, Slow uint64
	Bytes      uint64          // fast
	Refused    *engine.Refused // the latest; nil: none
	Samples    uint64          // of it, between the two looks
	// Odd are packets between the two addresses whose ports the datapath cannot read; nil: none.
	Odd *engine.Refused
}

// key tells directions apart.
type key struct {
	proto    string
	src, dst netip.AddrPort
}

func keyOf(t packet.Tuple) key { return key{packet.ProtoName(t.Proto), t.Src, t.Dst} }

// Routing is where a flow's packets go by the routing table now: In is the device towards who began the flow, Out the one
// towards the other end.
type Routing struct {
	In, Out    string
	Local      bool       // one of the ends is this machine
	NoNeighbor netip.Addr // a next hop whose MAC address is not known
}

// Routes asks the routing table about a connection. ok is false where nothing is known.
type Routes func(c Connection) (to Routing, ok bool)

// Join makes flows of a pattern out of two looks, the busiest first. Connections are those of the pattern already.
func Join(p Pattern, before, after Snapshot) []Flow {
	was := map[key]*Connection{}
	for i := range before.Connections {
		was[keyOf(before.Connections[i].Orig)] = &before.Connections[i]
	}
	j := joiner{
		before: byKey(before.Entries), after: byKey(after.Entries),
		refused: latest(after.Refused), samples: latest(before.Refused), seen: map[key]bool{},
	}
	var out []Flow
	for i := range after.Connections {
		c := &after.Connections[i]
		f := Flow{Conn: c, Before: was[keyOf(c.Orig)], Tuple: c.Orig}
		j.fill(&f, c.Orig, c.Reply)
		f.place()
		out = append(out, f)
	}
	// Of a flow that has just ended there is nothing to say, unless nothing else matches.
	since := recent
	if len(out) > 0 {
		since = justNow
	}
	out = append(out, j.strays(p, since)...)
	slices.SortStableFunc(out, func(a, b Flow) int {
		return cmp.Or(cmp.Compare(b.activity(), a.activity()), cmp.Compare(b.total(), a.total()),
			a.Tuple.Src.Compare(b.Tuple.Src), a.Tuple.Dst.Compare(b.Tuple.Dst))
	})
	return out
}

// byKey keeps of several entries of one tuple, which differ in the device they arrive on, the one that is carried.
func byKey(flows []engine.Flow) map[key]*engine.Flow {
	out := map[key]*engine.Flow{}
	for i := range flows {
		f := &flows[i]
		k := key{f.Proto, f.Src, f.Dst}
		if o := out[k]; o == nil || better(f, o) {
			out[k] = f
		}
	}
	return out
}

func better(a, b *engine.Flow) bool {
	if ready(a) != ready(b) {
		return ready(a)
	}
	return a.Idle < b.Idle
}

// ready reports whether an entry carries packets now.
func ready(f *engine.Flow) bool { return f != nil && f.State == engine.StateReady && f.Lease > 0 }

func latest(all []engine.Refused) map[key]*engine.Refused {
	out := map[key]*engine.Refused{}
	for i := range all {
		r := &all[i]
		k := key{r.Proto, r.Src, r.Dst}
		if o := out[k]; o == nil || r.Ago < o.Ago {
			out[k] = r
		}
	}
	return out
}

type joiner struct {
	before, after    map[key]*engine.Flow
	refused, samples map[key]*engine.Refused
	seen             map[key]bool
}

func (j *joiner) fill(f *Flow, orig, reply packet.Tuple) {
	for i, t := range []packet.Tuple{orig, reply} {
		k := keyOf(t)
		j.seen[k] = true
		d := &f.Dirs[i]
		d.Tuple = t
		if f.Conn != nil && f.Conn.Zone != 0 {
			continue // the datapath knows zone 0 only: what it says of the tuple is about another flow
		}
		d.Entry, d.Refused, d.Odd = j.after[k], j.refused[k], j.odd(t)
		if e, b := d.Entry, j.before[k]; e != nil {
			was := engine.Flow{}
			if b != nil && b.Packets <= e.Packets && b.InIndex == e.InIndex {
				was = *b
			}
			d.Fast, d.Bytes, d.Slow = e.Packets-was.Packets, e.Bytes-was.Bytes, e.Missed-min(was.Missed, e.Missed)
		}
		if r := d.Refused; r != nil {
			d.Samples = r.Samples
			if b := j.samples[k]; b != nil && b.Code == r.Code {
				d.Samples -= min(b.Samples, r.Samples)
			}
		}
	}
}

// portless reports whether a refusal is of packets whose ports cannot be read: fragments, and packets with headers that the
// datapath does not read.
func portless(r engine.Refused) bool { return r.Src.Port() == 0 && r.Dst.Port() == 0 }

// odd finds packets between the addresses of a tuple.
func (j *joiner) odd(t packet.Tuple) *engine.Refused {
	return j.refused[key{packet.ProtoName(0), netip.AddrPortFrom(t.Src.Addr(), 0), netip.AddrPortFrom(t.Dst.Addr(), 0)}]
}

// place finds the devices of a flow that was seen.
func (f *Flow) place() {
	in, out := [2]*string{&f.In, &f.Out}, [2]*string{&f.Out, &f.In}
	for i, d := range f.Dirs {
		if d.Entry != nil {
			*in[i], *out[i] = cmp.Or(*in[i], d.Entry.In), cmp.Or(*out[i], d.Entry.Out)
		} else if d.Refused != nil {
			*in[i], *out[i] = cmp.Or(*in[i], d.Refused.In), cmp.Or(*out[i], d.Refused.Out)
		}
	}
}

// Route completes the devices of a flow, where it was not seen on both.
func (f *Flow) Route(routes Routes) {
	if f.Conn == nil {
		return
	}
	to, ok := routes(*f.Conn)
	if !ok {
		return
	}
	f.Local, f.Back, f.NoNeighbor = to.Local, to.In, to.NoNeighbor
	f.RoutedIn, f.RoutedOut = f.In == "", f.Out == ""
	f.In, f.Out = cmp.Or(f.In, to.In), cmp.Or(f.Out, to.Out)
}

// strays are flows of a pattern that the datapath has seen lately and conntrack does not know.
func (j *joiner) strays(p Pattern, since time.Duration) []Flow {
	var out []Flow
	add := func(t, back packet.Tuple) {
		if j.seen[keyOf(t)] || j.seen[keyOf(back)] {
			return
		}
		f := Flow{Tuple: t}
		j.fill(&f, t, back)
		f.place()
		out = append(out, f)
	}
	for _, e := range sorted(j.after) {
		if e.State != "dead" && time.Duration(e.Idle) < since && p.MatchEntry(*e) {
			n := number(e.Proto)
			add(packet.Tuple{Src: e.Src, Dst: e.Dst, Proto: n}, packet.Tuple{Src: e.NATDst, Dst: e.NATSrc, Proto: n})
		}
	}
	for _, r := range sorted(j.refused) {
		if time.Duration(r.Ago) < since && !portless(*r) && p.MatchRefused(*r) {
			t := packet.Tuple{Src: r.Src, Dst: r.Dst, Proto: number(r.Proto)}
			add(t, t.Reverse())
		}
	}
	return out
}

// How long ago something was seen that still tells about a flow of now, and that means that its packets come.
const (
	recent  = time.Minute
	justNow = 2 * time.Second
)

func sorted[V any](m map[key]V) []V {
	keys := make([]key, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.proto, b.proto), a.src.Compare(b.src), a.dst.Compare(b.dst))
	})
	out := make([]V, 0, len(m))
	for _, k := range keys {
		out = append(out, m[k])
	}
	return out
}

func number(name string) uint8 {
	n, _ := protocol(name)
	return n
}

// activity is what the flow did between the two looks, in packets as far as anybody counted.
func (f Flow) activity() uint64 {
	var n uint64
	for _, d := range f.Dirs {
		n += d.Fast + d.Slow + d.Samples
	}
	return n + f.counted()
}

// counted is what conntrack counted between the two looks: slow packets.
func (f Flow) counted() uint64 {
	if f.Conn == nil || f.Before == nil {
		return 0
	}
	var n uint64
	for i, c := range f.Conn.Counts {
		n += c.Packets - min(f.Before.Counts[i].Packets, c.Packets)
	}
	return n
}

// total orders flows that do nothing now.
func (f Flow) total() uint64 {
	var n uint64
	for _, d := range f.Dirs {
		if d.Entry != nil {
			n += d.Entry.Packets
		}
	}
	if f.Conn != nil {
		n += f.Conn.Counts[0].Packets + f.Conn.Counts[1].Packets
	}
	return n
}

// fresh reports whether the connection's timeout began anew between the two looks: a packet came. Times are whole
// seconds, so a flow with few packets may not be seen.
func (f Flow) fresh() bool {
	return f.Conn != nil && f.Before != nil && f.Conn.HasTimeout && f.Before.HasTimeout && f.Conn.Timeout >= f.Before.Timeout
}
