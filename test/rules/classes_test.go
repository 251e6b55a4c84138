package rules_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// class is what kind of frame it is, for the question whether a program has to decide about it.
type class struct {
	tags int
	kind kind
}

// kind is what is behind the tags.
type kind uint8

const (
	plain          kind = iota // IPv4 or IPv6 with its transport header right behind
	arpFrame                   // whole
	otherFrame                 // another protocol
	options                    // IPv4 with options
	firstFragment              // a fragment that has the transport header
	laterFragment              // one that has not
	extensions                 // IPv6 extension headers, and all of them are there
	manyExtensions             // more than programs have to follow
	cutOff                     // ends inside its headers
	malformed                  // says something about itself that is not so
	lengthFrame                // 802.2 or 802.3
)

func (k kind) String() string {
	return [...]string{
		"plain", "arp", "other protocol", "options", "first fragment", "later fragment", "extension headers", "many extension headers",
		"cut off", "malformed", "a length",
	}[k]
}

func (c class) String() string {
	return c.kind.String() + [...]string{"", ", tagged", ", double-tagged", ", more tags"}[min(c.tags, 3)]
}

// extensionsToFollow is how many IPv6 extension headers a program has to follow.
const extensionsToFollow = 4

// classOf looks at a frame by itself: it shares nothing with package eval.
func classOf(frame []byte) class {
	at, tags := 12, 0
	for len(frame) >= at+2 {
		typ := binary.BigEndian.Uint16(frame[at:])
		if typ != 0x8100 && typ != 0x88a8 {
			return class{tags, kindOf(typ, frame[at+2:])}
		}
		tags++
		at += 4
	}
	return class{tags, cutOff}
}

func kindOf(typ uint16, b []byte) kind {
	switch typ {
	case 0x0800:
		return kindOf4(b)
	case 0x86dd:
		return kindOf6(b)
	case 0x0806:
		if len(b) < 28 {
			return cutOff
		}
		return arpFrame
	}
	const least = 0x0600 // the smallest type that is no length
	if typ < least {
		return lengthFrame
	}
	return otherFrame
}

// transportLen is how much of a transport header a frame must have to be whole.
func transportLen(proto byte) int {
	switch proto {
	case 6:
		return 20
	case 17, 1, 58:
		return 8
	case 132:
		return 12
	}
	return 4
}

func kindOf4(b []byte) kind {
	if len(b) < 20 {
		return cutOff
	}
	ihl, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	fragment := binary.BigEndian.Uint16(b[6:])
	switch {
	case b[0]>>4 != 4 || ihl < 20 || total < ihl || total > len(b):
		return malformed
	case fragment&0x1fff != 0:
		return laterFragment
	case total < ihl+transportLen(b[9]):
		return cutOff
	case fragment&0x2000 != 0:
		return firstFragment
	case ihl > 20:
		return options
	}
	return plain
}

func kindOf6(b []byte) kind {
	if len(b) < 40 {
		return cutOff
	}
	if b[0]>>4 != 6 || 40+int(binary.BigEndian.Uint16(b[4:])) > len(b) {
		return malformed
	}
	next, at, n, fragment := b[6], 40, 0, false
	for ; slices.Contains([]byte{0, 43, 44, 51, 60, 135, 59}, next); n++ {
		if next == 59 || next == 51 {
			n++
			break
		}
		if len(b) < at+8 {
			return cutOff
		}
		length := 8 + 8*int(b[at+1])
		if next == 44 {
			length, fragment = 8, true
			if binary.BigEndian.Uint16(b[at+2:])&^7 != 0 {
				return laterFragment
			}
		}
		next = b[at]
		at += length
	}
	switch {
	case len(b) < at+transportLen(next):
		return cutOff
	case n > extensionsToFollow:
		return manyExtensions
	case fragment:
		return firstFragment
	case n > 0:
		return extensions
	}
	return plain
}

// leastEarly is how many percent of the frames of a class, of those that rules end which run early, a program has to end
// itself. The others it leaves to the kernel because it cannot tell what is in them: fields of a transport header that
// only the first fragment has, or that are behind more headers than it follows.
func (c class) leastEarly() float64 {
	switch c.kind {
	case laterFragment:
		return 30
	case manyExtensions:
		return 50
	case cutOff:
		return 90
	case lengthFrame:
		if c.tags > 0 { // at XDP a program does not know what the kernel puts behind the tag
			return 0
		}
	case plain, arpFrame, otherFrame, options, firstFragment, extensions, malformed:
	}
	return 100
}

// tally counts, by class of frame, those that nftables ends and those of them that a program has ended early.
type tally map[class]*part

// part is how many of the frames of a class there were.
type part struct{ early, left, all int }

func (t tally) of(c class) *part {
	if t[c] == nil {
		t[c] = &part{}
	}
	return t[c]
}

// missed are the classes of which too much was left; where there were few, that says nothing.
func (t tally) missed() []string {
	const few = 100
	var out []string
	for c, p := range t {
		if least := c.leastEarly(); p.all >= few && 100*float64(p.early) < least*float64(p.all) {
			out = append(out, fmt.Sprintf("%s: %d of %d ended early, want %.0f%%", c, p.early, p.all, least))
		}
	}
	return out
}

func (t tally) String() string {
	var lines []string
	for c, s := range t {
		if s.all == 0 {
			continue
		}
		lines = append(lines, fmt.Sprintf("%-40s %7d ended by rules that run early, %6.2f%% of them early", c, s.all, 100*float64(s.early)/float64(max(s.all, 1))))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
