package nft

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nft-offload/nft-offload/internal/plan/element"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/ruleset"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// kind is a type of keys.
type kind struct {
	name   string
	bits   int
	host   bool // the kernel has it in the machine's byte order, but in sets of intervals
	random func(*rand.Rand) []byte
	text   func([]byte) string
}

// kinds are those that this nft has as types of sets. Keys are in network order.
func kinds() []kind {
	some := func(n, vary int) func(*rand.Rand) []byte { // few enough to meet again
		return func(r *rand.Rand) []byte {
			b := make([]byte, n)
			for i := n - 1; i >= n-vary; i-- {
				b[i] = byte(r.Uint32())
			}
			b[0] = byte(10 + r.IntN(3))
			return b
		}
	}
	number := func(b []byte) string {
		n := uint64(0)
		for _, c := range b {
			n = n<<8 | uint64(c)
		}
		return fmt.Sprint(n)
	}
	address := func(b []byte) string {
		a, _ := netip.AddrFromSlice(b)
		return a.String()
	}
	return []kind{
		{"ipv4_addr", 32, false, some(4, 2), address},
		{"ipv6_addr", 128, false, func(r *rand.Rand) []byte {
			b := some(16, 2)(r)
			b[0], b[1] = 0x20, 0x01
			return b
		}, address},
		{"ether_addr", 48, false, some(6, 2), func(b []byte) string { return net.HardwareAddr(b).String() }},
		{"inet_service", 16, false, some(2, 1), number},
		{"mark", 32, true, some(4, 2), number},
		{"inet_proto", 8, false, func(r *rand.Rand) []byte { return []byte{byte(r.Uint32())} }, number},
	}
}

// span is an interval of canonical words.
type span struct{ first, last string }

// interval makes an interval or a single key.
func (k kind) interval(r *rand.Rand, ranges bool) (text string, s span) {
	a := k.random(r)
	if !ranges || r.IntN(3) == 0 {
		return k.text(a), span{hex(a), hex(a)}
	}
	if r.IntN(2) == 0 && strings.HasPrefix(k.name, "ip") {
		free := r.IntN(9)
		b := slices.Clone(a)
		a[len(a)-1] &^= 1<<free - 1
		b[len(b)-1] |= 1<<free - 1
		return fmt.Sprintf("%s/%d", k.text(a), k.bits-free), span{hex(a), hex(b)}
	}
	b := k.random(r)
	b = append(slices.Clone(a[:len(a)-1]), b[len(b)-1])
	if b[len(b)-1] < a[len(a)-1] {
		a, b = b, a
	}
	if slices.Equal(a, b) {
		return k.text(a), span{hex(a), hex(a)}
	}
	return k.text(a) + "-" + k.text(b), span{hex(a), hex(b)}
}

func hex(b []byte) string { return fmt.Sprintf("%x", b) }

// canonical is a raw key as the numbers of its components.
func canonical(t *testing.T, parts []share.Part, raw []byte) string {
	t.Helper()
	words, ok := element.Words(nil, parts, raw, bigEndian())
	if !ok {
		t.Fatalf("%x is no key of %v", raw, parts)
	}
	var out []string
	for _, p := range parts {
		text := ""
		if p.Bits > element.WordBits {
			text, words = fmt.Sprintf("%016x", words[0]), words[1:]
		}
		text += fmt.Sprintf("%0*x", min(p.Bits, 64)/4, words[0])
		out, words = append(out, text), words[1:]
	}
	return strings.Join(out, ".")
}

func read(t *testing.T, ns *testkit.NS, set element.SetID) *element.List {
	t.Helper()
	var l *element.List
	if err := ns.Do(func() (err error) {
		l, err = Elements(t.Context(), set)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return l
}

// spans are the elements of a list, sorted.
func spans(t *testing.T, parts []share.Part, l *element.List) []string {
	t.Helper()
	var out []string
	for e := range l.All() {
		last := e.Last
		if last == nil {
			last = e.First
		}
		out = append(out, canonical(t, parts, e.First)+"-"+canonical(t, parts, last))
	}
	slices.Sort(out)
	return out
}

func TestElements_RandomSets_AreWhatWasAdded(t *testing.T) {
	const seed = 7
	r := rand.New(rand.NewPCG(seed, 0))
	all := kinds()
	for round := range 30 {
		ks := []kind{all[round%len(all)]}
		for len(ks) < 4 && r.IntN(3) == 0 {
			ks = append(ks, all[r.IntN(len(all))])
		}
		ranges := r.IntN(2) == 0
		var names []string
		var parts []share.Part
		for _, k := range ks {
			names = append(names, k.name)
			parts = append(parts, share.Part{Bits: k.bits, Host: k.host && !ranges})
		}
		ns := nsWith(t, "")
		define := fmt.Sprintf("table netdev t {\nset s {\ntype %s\n", strings.Join(names, " . "))
		if ranges {
			define += "flags interval\n"
		}
		ns.NFTables(define + "}\n}\n")
		set := element.SetID{Family: ruleset.Netdev, Table: "t", Name: "s"}
		var want []string
		for range 25 {
			var text, first, last []string
			for _, k := range ks {
				x, s := k.interval(r, ranges)
				text, first, last = append(text, x), append(first, s.first), append(last, s.last)
			}
			// What overlaps is refused.
			if _, err := ns.Try("nft", "add element netdev t s { "+strings.Join(text, " . ")+" }"); err == nil {
				want = append(want, strings.Join(first, ".")+"-"+strings.Join(last, "."))
			}
		}
		slices.Sort(want)
		want = slices.Compact(want)
		if got := spans(t, parts, read(t, ns, set)); !slices.Equal(got, want) {
			t.Fatalf("seed %d, round %d, %s, intervals %v:\n%s\n%s", seed, round, strings.Join(names, " . "), ranges, cmp.Diff(want, got), ns.Run("nft", "list", "ruleset"))
		}
	}
}

// Numbers of the machine's byte order are in network order where the kernel has to compare intervals, in
// concatenations too.
func TestElements_Types_AreInTheRegistersAs(t *testing.T) {
	if bigEndian() {
		t.Skip("the registers below are those of a little-endian machine")
	}
	for definition, want := range map[string]string{
		`type ifname; elements = { "eth0" }`:                                                 "65746830000000000000000000000000-",
		`type ifname; flags interval; elements = { "wan*" }`:                                 "77616e00000000000000000000000000-77616effffffffffffffffffffffffff",
		`type ifname . inet_service; elements = { "wan" . 2 }`:                               "77616e0000000000000000000000000000020000-",
		`type ifname . inet_service; flags interval; elements = { "wan*" . 2 }`:              "77616e0000000000000000000000000000020000-77616effffffffffffffffffffffffff00020000",
		`type mark; elements = { 3 }`:                                                        "03000000-",
		`type mark; flags interval; elements = { 1-3 }`:                                      "00000001-00000003",
		`type mark . inet_service; elements = { 3 . 4 }`:                                     "0300000000040000-",
		`type mark . inet_service; flags interval; elements = { 1-3 . 4 }`:                   "0000000100040000-0000000300040000",
		`type iface_index; elements = { lo }`:                                                "01000000-",
		`typeof ip dscp; elements = { 5 }`:                                                   "05-",
		`typeof vlan id; elements = { 5 }`:                                                   "0005-",
		`typeof vlan id; flags interval; elements = { 4000-4095 }`:                           "0fa0-ffff",
		`typeof vlan id . ip dscp; flags interval; elements = { 5-9 . 7 }`:                   "0005000007000000-0009000007000000",
		`typeof meta length; elements = { 1000 }`:                                            "e8030000-",
		`typeof meta length; flags interval; elements = { 1000-2000 }`:                       "000003e8-000007d0",
		`typeof meta protocol; elements = { ip }`:                                            "0800-",
		`typeof ip6 flowlabel; elements = { 5 }`:                                             "000005-",
		`type ipv4_addr; flags timeout; elements = { 1.2.3.4 timeout 1h }`:                   "01020304-",
		`type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.0/8 . 80-90 }`:   "0a00000000500000-0affffff005a0000",
		`type ether_addr . ipv4_addr; elements = { 02:00:00:00:00:01 . 1.2.3.4 }`:            "020000000001000001020304-",
		`type ipv6_addr; flags interval; elements = { 2001:db8::/32 }`:                       "20010db8000000000000000000000000-20010db8ffffffffffffffffffffffff",
		`type inet_proto . inet_service; flags interval; elements = { tcp . 1024-65535 }`:    "0600000004000000-06000000ffff0000",
		`typeof ip saddr . tcp flags; elements = { 1.2.3.4 . syn }`:                          "0102030402000000-",
		`typeof ether type; flags interval; elements = { 0x100-0x200 }`:                      "0100-0200",
		`type ipv4_addr; flags interval; auto-merge; elements = { 10.0.0.0/9, 10.128.0.0/9}`: "0a000000-0affffff",
	} {
		ns := nsWith(t, "table netdev t {\nset s {\n"+strings.ReplaceAll(definition, "; ", "\n")+"\n}\n}\n")
		l := read(t, ns, element.SetID{Family: ruleset.Netdev, Table: "t", Name: "s"})
		for e := range l.All() {
			if got := hex(e.First) + "-" + hex(e.Last); got != want {
				t.Errorf("%s: got %s, want %s", definition, got, want)
			}
		}
		if l.Len() != 1 {
			t.Errorf("%s: %d elements", definition, l.Len())
		}
	}
}

func TestElements_AutoMerge_AsNftListsThem(t *testing.T) {
	const seed = 3
	r := rand.New(rand.NewPCG(seed, 0))
	ns := nsWith(t, "table ip t {\nset s {\ntype inet_service\nflags interval\nauto-merge\n}\n}\n")
	for step := range 60 {
		a := r.IntN(200)
		b := a + r.IntN(20)
		verb := "add"
		if step > 20 && r.IntN(3) == 0 {
			verb = "delete"
		}
		_, _ = ns.Try("nft", fmt.Sprintf("%s element ip t s { %d-%d }", verb, a, b)) // deleting what is not there is refused
		got := spans(t, []share.Part{{Bits: 16}}, read(t, ns, element.SetID{Family: ruleset.IP, Table: "t", Name: "s"}))
		if want := listedPorts(t, ns.Run("nft", "-j", "list", "set", "ip", "t", "s")); !slices.Equal(got, want) {
			t.Fatalf("seed %d, step %d: got %v, nft lists %v", seed, step, got, want)
		}
	}
}

// listedPorts are the intervals of a set of ports as nft lists them.
func listedPorts(t *testing.T, text string) []string {
	t.Helper()
	var doc struct {
		Nftables []struct {
			Set *struct{ Elem []json.RawMessage }
		}
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, o := range doc.Nftables {
		if o.Set == nil {
			continue
		}
		for _, e := range o.Set.Elem {
			var ranged struct{ Range [2]int }
			if json.Unmarshal(e, &ranged) != nil {
				if err := json.Unmarshal(e, &ranged.Range[0]); err != nil {
					t.Fatalf("element %s: %v", e, err)
				}
				ranged.Range[1] = ranged.Range[0]
			}
			out = append(out, fmt.Sprintf("%04x-%04x", ranged.Range[0], ranged.Range[1]))
		}
	}
	slices.Sort(out)
	return out
}

func TestElements_FirstAndLastKey_AreIn(t *testing.T) {
	ns := nsWith(t, `table ip t {
		set ends { type ipv4_addr; flags interval; elements = { 0.0.0.0/8, 9.0.0.0/8, 10.0.0.0/8, 240.0.0.0/4 } }
		set whole { type inet_service; flags interval; elements = { 0-65535 } }
		set top { type inet_service; flags interval; elements = { 65535 } }
	}
`)
	for set, want := range map[string][]string{
		"ends":  {"00000000-00ffffff", "09000000-09ffffff", "0a000000-0affffff", "f0000000-ffffffff"},
		"whole": {"0000-ffff"},
		"top":   {"ffff-ffff"},
	} {
		parts := []share.Part{{Bits: 4 * (len(want[0]) - 1) / 2}}
		if got := spans(t, parts, read(t, ns, element.SetID{Family: ruleset.IP, Table: "t", Name: set})); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", set, got, want)
		}
	}
}

func TestElements_VerdictMap_HasVerdictsAndChains(t *testing.T) {
	ns := nsWith(t, `table netdev t {
		chain c { }
		map m { type inet_service : verdict; flags interval; elements = { 1 : accept, 2-9 : drop, 10 : return, 11 : continue, 12 : jump c, 13 : goto c } }
		map e { type inet_service : verdict; elements = { 1 : drop, * : accept } }
	}
`)
	got := map[string]string{}
	for _, name := range []string{"m", "e"} {
		l := read(t, ns, element.SetID{Family: ruleset.Netdev, Table: "t", Name: name})
		for e := range l.All() {
			got[fmt.Sprintf("%s %x-%x", name, e.First, e.Last)] = string(e.Verdict) + " " + e.Chain
		}
	}
	want := map[string]string{
		"m 0001-0001": "accept ", "m 0002-0009": "drop ", "m 000a-000a": "return ", "m 000b-000b": "continue ",
		"m 000c-000c": "jump c", "m 000d-000d": "goto c", "e 0001-": "drop ", "e -": "accept ",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestElements_ElementsOfTheirOwn_AreStateful(t *testing.T) {
	ns := nsWith(t, `table ip t {
		set s { type inet_service; counter; elements = { 1, 2 } }
		set plain { type inet_service; elements = { 1, 2 } }
	}
`)
	for name, want := range map[string]bool{"s": true, "plain": false} {
		l := read(t, ns, element.SetID{Family: ruleset.IP, Table: "t", Name: name})
		if l.Len() != 2 {
			t.Errorf("%s: %d elements", name, l.Len())
		}
		for e := range l.All() {
			if e.Stateful != want {
				t.Errorf("%s: stateful is %v", name, e.Stateful)
			}
		}
	}
}

func TestElements_NoSet_IsErrNoSet(t *testing.T) {
	ns := nsWith(t, "table ip t {\n}\n")
	for _, table := range []string{"t", "none"} {
		err := ns.Do(func() error {
			_, err := Elements(t.Context(), element.SetID{Family: ruleset.IP, Table: table, Name: "s"})
			return err
		})
		if !errors.Is(err, ErrNoSet) {
			t.Errorf("table %s: %v", table, err)
		}
	}
}

func TestElements_Generation_IsBeforeWhatComesLater(t *testing.T) {
	ns := nsWith(t, "")
	events, _ := watching(t, ns, watchBuffer)
	ns.NFTables("table ip t {\nset s {\ntype inet_service\n}\n}\n")
	first := next(t, events).Generation
	ns.NFTables("add element ip t s { 1 }\n")
	second := next(t, events).Generation
	l := read(t, ns, element.SetID{Family: ruleset.IP, Table: "t", Name: "s"})
	ns.Run("nft", "add", "table", "ip", "other")
	third := next(t, events).Generation
	// The second is in it; to make it again does no harm.
	if l.Generation.Before(first) || !l.Generation.Before(third) {
		t.Errorf("the list of generation %d; commits %d, %d, %d", l.Generation, first, second, third)
	}
}

// Transactions come all the time: some about the set, which change one element for another, and others.
func TestElements_ChangesMeanwhile_NeverShowHalfATransaction(t *testing.T) {
	const many, readings = 20_000, 40
	ns := nsWith(t, "table ip t {\nset s {\ntype ipv4_addr\n}\n}\ntable ip other {\n}\n")
	var b strings.Builder
	b.WriteString("add element ip t s {\n192.0.2.0,\n")
	for i := range many {
		fmt.Fprintf(&b, "10.0.%d.%d,\n", i>>8, i&255)
	}
	ns.NFTables(b.String() + "}\n")
	stop, stopped := make(chan bool), make(chan error)
	go func() {
		for i := 0; ; i++ {
			text := fmt.Sprintf("add chain ip other c%d\n", i)
			if i%3 == 0 {
				text = fmt.Sprintf("delete element ip t s { 192.0.2.%d }\nadd element ip t s { 192.0.2.%d }\n", i/3%2, (i/3+1)%2)
			}
			_, err := ns.Pipe(text, "nft", "-f", "-")
			select {
			case <-stop:
				stopped <- err
				return
			default:
			}
		}
	}()
	moved := 0
	for range readings {
		var l *element.List
		err := ns.Do(func() (err error) {
			l, err = Elements(t.Context(), element.SetID{Family: ruleset.IP, Table: "t", Name: "s"})
			return err
		})
		if errors.Is(err, errChanged) {
			moved++ // five times over
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for e := range l.All() {
			seen[string(e.First)] = true
		}
		if seen["\xc0\x00\x02\x00"] == seen["\xc0\x00\x02\x01"] || len(seen) != many+1 {
			t.Fatalf("%d elements, of which %d are different; the one: %v, the other: %v", l.Len(), len(seen), seen["\xc0\x00\x02\x00"], seen["\xc0\x00\x02\x01"])
		}
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	t.Logf("%d of %d readings gave up", moved, readings)
	if moved == readings {
		t.Error("no reading came to an end")
	}
}
