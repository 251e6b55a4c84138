package eval_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/eval"
	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/ruleset"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

const (
	corpus        = "../../internal/ruleset/testdata/real"
	framesPerTurn = 400
	leastPartKept = 50 // percent of a ruleset's rules outside NAT that must be left
	leastRules    = 1000
	leastHit      = 250
)

// TestRealRulesetsCountWhatTheKernelCounts sends frames of new connections, with addresses and ports that the rules name,
// through the rulesets of the corpus, EVAL_TURNS times through each, and each rule counts. Left out is what cannot be compared: NAT, what iptables made,
// and rules that ask what a frame cannot tell (limits, random numbers, routes).
func TestRealRulesetsCountWhatTheKernelCounts(t *testing.T) {
	seed := seedOf(t)
	turns, err := strconv.Atoi(env("EVAL_TURNS", "6"))
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t)
	paths, err := filepath.Glob(filepath.Join(corpus, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	rules, hit, turn := 0, 0, 0
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		doc, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(doc), `{"xt": `) {
			continue // nft does not load it
		}
		t.Run(name, func(t *testing.T) {
			counted := map[string]bool{}
			n := 0
			for i := 0; i < turns && !t.Failed(); i++ {
				c := &real{l: l, r: rand.New(rand.NewPCG(seed, uint64(turn))), turn: turn, tuples: map[string]packet.Tuple{}, counted: counted}
				turn++
				n = max(n, c.compare(t, doc))
			}
			t.Logf("%d rules, %d of them counted packets", n, len(counted))
			rules, hit = rules+n, hit+len(counted)
		})
	}
	t.Logf("%d rules compared, %d of them counted packets; %d packets", rules, hit, l.frameSent)
	if rules < leastRules || hit < leastHit {
		t.Errorf("%d rules compared, %d counted packets: want at least %d and %d", rules, hit, leastRules, leastHit)
	}
}

// real is one ruleset of the corpus in the lab.
type real struct {
	l     *lab
	r     *rand.Rand
	turn  int
	addrs [2][]netip.Addr // that the rules name, IPv4 and IPv6
	ports []uint16
	// strangers are addresses that most rules do not name.
	strangers [2]netip.Addr
	// tuples are those of the frames.
	tuples map[string]packet.Tuple
	// counted are the rules that counted in some turn.
	counted map[string]bool
}

// compare loads the ruleset as far as it can be compared, sends frames and compares counters. It returns how many
// rules there were.
func (c *real) compare(t *testing.T, doc []byte) int {
	rs, err := ruleset.Decode(doc)
	if err != nil {
		t.Fatal(err)
	}
	before := prepare(rs)
	c.constants(rs)
	text := c.lab(rs.String())
	rs, err = c.load(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	fs := c.frames()
	for range before {
		if !c.dropUnknown(rs, fs) {
			break
		}
	}
	kept := count(rs)
	if kept*100 < before*leastPartKept {
		t.Errorf("%d of %d rules can be compared", kept, before)
	}
	text = rs.String()
	if rs, err = c.load(text); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	diffs, err := c.check(rs, fs)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range diffs {
		t.Errorf("%s\n%s", d, d.rule)
	}
	return kept
}

// load loads a ruleset. Chains of netdev tables are all at r0: nft 1.0.6 does not list it.
func (c *real) load(text string) (*ruleset.Ruleset, error) {
	rs, err := c.l.load(text)
	if err != nil {
		return nil, err
	}
	for _, t := range rs.Tables {
		for _, ch := range t.Chains {
			if t.Family == ruleset.Netdev && ch.Base != nil {
				ch.Base.Devices = []string{"r0"}
			}
		}
	}
	return rs, nil
}

// prepare takes out what the lab has not, and makes every rule count. It returns the number of rules that are left.
func prepare(rs *ruleset.Ruleset) int {
	for _, t := range rs.Tables {
		t.Flags, t.Flowtables = nil, nil
		for _, s := range t.Sets {
			if slices.Contains(s.Flags, "dynamic") {
				s.Elems, s.Stmts = nil, nil // what packets put there has a time to live
			}
		}
		var chains []*ruleset.Chain
		for _, c := range t.Chains {
			if b := c.Base; b != nil {
				if b.Type == "nat" || b.Hook == "egress" || b.Hook == "postrouting" || b.Hook == "output" {
					continue
				}
				if t.Family == ruleset.Netdev {
					b.Devices = []string{"r0"}
				}
			}
			c.Rules = slices.DeleteFunc(c.Rules, func(r *ruleset.Rule) bool { return !countable(r) })
			chains = append(chains, c)
		}
		t.Chains = chains
	}
	return count(rs)
}

// countable reports whether a rule can be compared, and puts a counter behind its matches.
func countable(r *ruleset.Rule) bool {
	at := len(r.Stmts)
	for i, s := range r.Stmts {
		switch s := s.(type) {
		case ruleset.FlowAdd, ruleset.Limit, ruleset.Quota, ruleset.CTCount, ruleset.NAT, ruleset.Meter, ruleset.Queue, ruleset.XT:
			return false
		case ruleset.Action:
			if s.Kind != "notrack" && s.Kind != "log" {
				return false
			}
			at = min(at, i)
		case ruleset.SetUpdate:
			if len(s.Stmts) > 0 {
				return false
			}
			at = min(at, i)
		case ruleset.Match:
		default:
			at = min(at, i)
		}
	}
	r.Stmts = slices.Insert(r.Stmts, at, ruleset.Stmt(ruleset.Counter{}))
	r.Stmts = slices.DeleteFunc(r.Stmts, func(s ruleset.Stmt) bool {
		switch s := s.(type) {
		case ruleset.Action:
			return s.Kind == "log" // the kernel's log is not for a test
		case ruleset.Counter:
			return s.Ref != nil // counts more than one rule
		}
		return false
	})
	return true
}

func count(rs *ruleset.Ruleset) int {
	n := 0
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			n += len(c.Rules)
		}
	}
	return n
}

// constants collects addresses and ports that the ruleset names.
func (c *real) constants(rs *ruleset.Ruleset) {
	seen := map[any]bool{}
	add := func(a netip.Addr) {
		if !seen[a] && a.IsGlobalUnicast() && !c.near(a) {
			seen[a] = true
			i := 0
			if a.Is6() {
				i = 1
			}
			c.addrs[i] = append(c.addrs[i], a)
		}
	}
	each(reflect.ValueOf(rs), func(v any) {
		switch v := v.(type) {
		case ruleset.Str:
			if a, err := netip.ParseAddr(string(v)); err == nil {
				add(a)
				add(a.Next())
			}
		case ruleset.Num:
			if v > 0 && v < 1<<16 && !seen[v] {
				seen[v] = true
				c.ports = append(c.ports, uint16(v))
			}
		}
	})
	c.strangers = [2]netip.Addr{netip.MustParseAddr("100.64.0.5"), netip.MustParseAddr("fdaa::5")}
	for _, a := range c.strangers {
		add(a)
	}
	c.ports = append(c.ports, 7, 40000)
}

// near reports whether the router has a route to an address. It would answer.
func (c *real) near(a netip.Addr) bool {
	for i, bits := range []int{24, 64} {
		for _, own := range []netip.Addr{c.l.local[i], c.l.remote[i]} {
			if netip.PrefixFrom(own, bits).Masked().Contains(a) {
				return true
			}
		}
	}
	return false
}

// each visits every value that another one holds.
func each(v reflect.Value, visit func(any)) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			each(v.Elem(), visit)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			each(v.Field(i), visit)
		}
	case reflect.Slice:
		for i := range v.Len() {
			each(v.Index(i), visit)
		}
	default:
		visit(v.Interface())
	}
}

// lab puts the lab's devices and addresses in the places of two that the text names, and compares devices by name,
// since the others do not exist.
func (c *real) lab(text string) string {
	text = regexp.MustCompile(`\b(fwd|dup) to "[^"]*"`).ReplaceAllString(text, `$1 to "r1"`)
	index := regexp.MustCompile(`\b([io])if ([@{"]|vmap)`)
	text = strings.ReplaceAll(index.ReplaceAllString(text, "${1}ifname $2"), "iface_index", "ifname")
	text = c.substitute(text, `ifname|elements = .*"`, `"([a-z][\w.-]*)"[ ,]`, "r0", "r1")
	text = c.substitute(text, `ip daddr`, `ip daddr.* (\d+\.\d+\.\d+\.\d+)[ ,]`, c.l.remote[0].String(), c.l.local[0].String())
	return c.substitute(text, `ip6 daddr`, `ip6 daddr.* ([0-9a-f]+:[0-9a-f:]+)[ ,]`, c.l.remote[1].String(), c.l.local[1].String())
}

// substitute puts new words in the places of words in lines of a kind; the more often, the likelier.
func (c *real) substitute(text, line, word string, with ...string) string {
	kind, find := regexp.MustCompile(line), regexp.MustCompile(word)
	var words []string
	lines := strings.Split(text, "\n")
	for _, l := range lines {
		if !kind.MatchString(l) {
			continue
		}
		for _, m := range find.FindAllStringSubmatch(l+" ", -1) {
			if !slices.Contains(with, m[1]) {
				words = append(words, m[1])
			}
		}
	}
	for _, w := range with {
		if len(words) == 0 {
			break
		}
		old := words[c.r.IntN(len(words))]
		words = slices.DeleteFunc(words, func(w string) bool { return w == old })
		place := regexp.MustCompile(`([" ])` + regexp.QuoteMeta(old) + `(["\s,])`)
		for i, l := range lines {
			if kind.MatchString(l) {
				lines[i] = strings.TrimSuffix(place.ReplaceAllString(l+" ", "${1}"+w+"${2}"), " ")
			}
		}
	}
	return strings.Join(lines, "\n")
}

// frames are the first packets of connections that nobody answers.
func (c *real) frames() []frame {
	fs := make([]frame, framesPerTurn)
	for i := range fs {
		six := c.r.IntN(4) / 3
		dst := c.l.remote[six]
		if c.r.IntN(3) == 0 {
			dst = c.l.local[six]
		}
		src := c.strangers[six]
		if c.r.IntN(3) > 0 {
			src = c.addrs[six][c.r.IntN(len(c.addrs[six]))]
		}
		// No two frames of a run are of one connection.
		sport := uint16(1024 + (c.turn*framesPerTurn+i)%60000)
		proto := []uint8{6, 6, 17, 17, 1 + 57*uint8(six)}[c.r.IntN(5)]
		payload := make([]byte, c.r.IntN(64))
		tuple := packet.Tuple{Src: netip.AddrPortFrom(src, sport), Dst: netip.AddrPortFrom(dst, c.ports[c.r.IntN(len(c.ports))]), Proto: proto}
		switch proto {
		case 1, 58:
			tuple.Src, tuple.Dst = netip.AddrPortFrom(src, 0), netip.AddrPortFrom(dst, 0)
			payload = append([]byte{8 + 120*uint8(six), 0, 0, 0, byte(sport >> 8), byte(sport), 0, 1}, payload...)
			binary.BigEndian.PutUint16(payload[2:], icmpChecksum(src, dst, payload)) // conntrack calls a wrong one invalid
		}
		s := packet.New(tuple, payload)
		s.Flags = packet.SYN
		s.TTL = []uint8{1, 64, 255}[c.r.IntN(3)]
		s.TOS = []uint8{0, 0xb8, 0x20}[c.r.IntN(3)]
		if dst == c.l.remote[six] {
			s.TTL = 64 // forwarded: one less is sent on, none would be answered
		}
		f := s.Build()
		copy(f, c.l.r0.MAC[:])
		c.tuples[string(f)] = tuple
		fs[i] = frame{data: f}
	}
	return fs
}

// icmpChecksum is the checksum of an ICMP message, or of an ICMPv6 one, which counts the pseudo header too (RFC 4443, 2.3).
func icmpChecksum(src, dst netip.Addr, msg []byte) uint16 {
	if src.Is4() {
		return packet.Checksum(msg)
	}
	a, b := src.As16(), dst.As16()
	head := binary.BigEndian.AppendUint32(append(a[:], b[:]...), uint32(len(msg)))
	return packet.Checksum(append(append(head, 0, 0, 0, 58), msg...))
}

// packet is a frame of a new connection.
func (c *real) packet(f frame) eval.Packet {
	p := c.l.packet(f)
	var none uint32
	var mark uint32
	var zone uint16
	var reply bool
	var helper string
	p.CT = &eval.Conntrack{
		State: eval.StateNew, Status: &none, Mark: &mark, Labels: &[16]byte{}, Reply: &reply, Zone: &zone, Helper: &helper,
		Packets: &[2]uint64{}, Bytes: &[2]uint64{},
	}
	there := c.tuples[string(f.data)]
	back := packet.Tuple{Src: there.Dst, Dst: there.Src, Proto: there.Proto}
	p.CT.Original, p.CT.Answer = &there, &back
	return p
}

// dropUnknown takes the rules out that ask for more than the lab knows, and reports whether there were any.
func (c *real) dropUnknown(rs *ruleset.Ruleset, fs []frame) bool {
	e := eval.New(rs, c.l.devices)
	drop := map[*ruleset.Rule]bool{}
	for _, f := range fs {
		for _, m := range e.Run(c.packet(f)).Missing {
			chain := rs.Table(m.Place.Family, m.Place.Table).Chain(m.Place.Chain)
			drop[chain.Rules[m.Place.Index]] = true
		}
	}
	for _, t := range rs.Tables {
		for _, ch := range t.Chains {
			ch.Rules = slices.DeleteFunc(ch.Rules, func(r *ruleset.Rule) bool { return drop[r] })
			for i, r := range ch.Rules {
				r.Index = i
			}
		}
	}
	return len(drop) > 0
}

// check sends the frames and returns the rules that counted otherwise than eval says.
func (c *real) check(rs *ruleset.Ruleset, fs []frame) (diffs []difference, err error) {
	e := eval.New(rs, c.l.devices)
	for _, f := range fs {
		if res := e.Run(c.packet(f)); len(res.Missing) > 0 {
			return nil, fmt.Errorf("facts are missing: %v", res.Missing)
		}
	}
	if err := c.l.send(fs); err != nil {
		return nil, err
	}
	err = testkit.Await(2*time.Second, func() error {
		now, err := c.l.list()
		if err != nil {
			return err
		}
		if diffs = compare(e, rs, now); len(diffs) > 0 {
			return errors.New("counters differ")
		}
		return nil
	})
	if len(diffs) > 0 {
		err = nil
	}
	for _, t := range rs.Tables {
		for _, ch := range t.Chains {
			for _, r := range ch.Rules {
				if slices.ContainsFunc(e.Counts(r), func(n eval.Count) bool { return n.Packets > 0 }) {
					c.counted[fmt.Sprint(r.Family, r.Table, r.Chain, r.Index)] = true
				}
			}
		}
	}
	return diffs, err
}
