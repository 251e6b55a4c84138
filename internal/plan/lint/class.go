package lint

import (
	"math/bits"
	"slices"
)

// A class is a kind of packet that the analysis tells from others: protocol, conntrack state with direction, address
// family, incoming and outgoing device. A word has one bit for each combination of the first three; devices are
// numbered by deviceNames, with one number for all that no rule names.
type word uint64

type proto uint8

const (
	tcp proto = iota
	udp
	gre
	otherProto
	protoCount
)

func (p proto) String() string {
	return [...]string{"TCP", "UDP", "GRE", "other protocols"}[p]
}

type state uint8

const (
	stateNew state = iota
	stateOriginal
	stateReply
	stateRelated
	stateInvalid
	stateUntracked
	stateCount
)

const (
	familyIP = iota
	familyIP6
	familyCount
)

func bitOf(f int, s state, p proto) word {
	return 1 << ((f*int(stateCount)+int(s))*int(protoCount) + int(p))
}

// words returns all classes that keep accepts.
func words(keep func(f int, s state, p proto) bool) word {
	var w word
	for f := range familyCount {
		for s := range stateCount {
			for p := range protoCount {
				if keep(f, s, p) {
					w |= bitOf(f, s, p)
				}
			}
		}
	}
	return w
}

const allWords word = 1<<(familyCount*int(stateCount)*int(protoCount)) - 1

func ofProto(want proto) word {
	return words(func(_ int, _ state, p proto) bool { return p == want })
}

func ofFamily(want int) word {
	return words(func(f int, _ state, _ proto) bool { return f == want })
}

func ofStates(want ...state) word {
	return words(func(_ int, s state, _ proto) bool {
		return slices.Contains(want, s)
	})
}

func established() word { return ofStates(stateOriginal, stateReply) }

// offloadable are the classes of packets that may make `flow add` add a flow: established TCP, and UDP and GRE from the
// second packet on (the first one's conntrack entry is not confirmed, and both packets may come before an answer).
func offloadable() word {
	return words(func(_ int, s state, p proto) bool {
		switch s {
		case stateOriginal, stateReply:
			return p != otherProto
		case stateNew, stateRelated:
			return p == udp || p == gre
		default:
			return false
		}
	})
}

func protosOf(w word) []proto {
	var out []proto
	for p := range protoCount {
		if w&ofProto(p) != 0 {
			out = append(out, p)
		}
	}
	return out
}

// firstBit returns the number of the lowest class of a word that is not empty.
func firstBit(w word) int { return bits.TrailingZeros64(uint64(w)) }

// devset is a set of device numbers.
type devset uint32

const (
	maxDevices        = 16 // numbers, the one for all others included
	allDevices devset = 1<<maxDevices - 1
)

// box is a product: every class of w that comes in by a device of in and leaves by one of out.
type box struct {
	w       word
	in, out devset
}

func full() box { return box{allWords, allDevices, allDevices} }

func (b box) empty() bool { return b.w == 0 || b.in == 0 || b.out == 0 }

func (b box) and(c box) box { return box{b.w & c.w, b.in & c.in, b.out & c.out} }

// hull is the smallest box around both.
func (b box) hull(c box) box {
	switch {
	case b.empty():
		return c
	case c.empty():
		return b
	}
	return box{b.w | c.w, b.in | c.in, b.out | c.out}
}

// join is a box inside the union of both, and all of it where they differ in one dimension only.
func (b box) join(c box) box {
	switch {
	case b.empty():
		return c
	case c.empty():
		return b
	case b.in == c.in && b.out == c.out:
		return box{b.w | c.w, b.in, b.out}
	case b.w == c.w && b.out == c.out:
		return box{b.w, b.in | c.in, b.out}
	case b.w == c.w && b.in == c.in:
		return box{b.w, b.in, b.out | c.out}
	}
	return b
}

// set is any set of classes: a word for each pair of devices.
type set []word

// space is how many device numbers are in use.
type space int

func (n space) empty() set { return make(set, n*n) }

func (n space) filled(w word) set {
	s := n.empty()
	for i := range s {
		s[i] = w
	}
	return s
}

// each calls f for the index of each device pair of the box.
func (n space) each(b box, f func(i int)) {
	if b.empty() {
		return
	}
	for in := range int(n) {
		if b.in>>in&1 == 0 {
			continue
		}
		for out := range int(n) {
			if b.out>>out&1 != 0 {
				f(in*int(n) + out)
			}
		}
	}
}

// addPart adds what of s is in the box to t.
func (n space) addPart(t, s set, b box) {
	n.each(b, func(i int) { t[i] |= s[i] & b.w })
}

// meets reports whether something of s is in the box.
func (n space) meets(s set, b box) bool {
	var w word
	n.each(b, func(i int) { w |= s[i] & b.w })
	return w != 0
}

// reversed is the set with devices swapped.
func (n space) reversed(s set) set {
	r := n.empty()
	for in := range int(n) {
		for out := range int(n) {
			r[out*int(n)+in] = s[in*int(n)+out]
		}
	}
	return r
}

func (s set) add(t set) {
	for i := range s {
		s[i] |= t[i]
	}
}

// all returns the classes that are in the set for any devices.
func (s set) all() word {
	var w word
	for _, x := range s {
		w |= x
	}
	return w
}
