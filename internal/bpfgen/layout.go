package bpfgen

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/nft-offload/nft-offload/internal/bpfgen/tree"
	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/plan/space"
)

// The scratch value: what the program knows of the packet it is looking at. The verifier follows registers and the
// stack, not what is in maps: what was stored here and is loaded again may be anything, so that the ways by which
// a packet comes to an entry are one and the same to it, however many there are.
const (
	atDropped   = 0 // Totals
	atForwarded = 8
	atEnded     = 16
	atLeft      = 24
	atSuspended = 32
	atResume    = 40                   // u32: the entry at which the next chunk goes on
	atNoted     = 44                   // u32: how many counters were passed
	atNotes     = 48                   // their slots, u32 each
	atCopied    = atNotes + 4*maxNotes // u32: how many copies are to be made
	atCopies    = atCopied + 4         // where they are sent, u32 each
	atAbsent    = atCopies + 4*maxCopies
	atDoubt     = atAbsent + 4
	atNet       = atDoubt + 4   // u32: where the network header is, from the first byte
	atTransport = atNet + 4     // u32: the same of the transport header
	atIfindex   = atNet + 8     // u32: where the packet is sent to; 0: dropped
	atNext      = atNet + 12    // u32: the number of the header that is next, in IPv6
	atLength    = atNet + 16    // u64: bytes behind the link header, as nftables counts them
	atProtocol  = atLength + 8  // u64: the type of the network header
	atBest      = atLength + 16 // u64: of the entries of a segment that match, the first
	atLink      = atBest + 8    // the link header with its tag in place
	atFields    = atLink + linkBytes

	maxNotes   = 32
	maxCopies  = 5 // odd: numbers of 64 bits are behind them
	linkBytes  = 64
	maxClasses = 31
)

// class is fields that the packet has or has not together: they end with the same byte of the same header.
type class struct {
	base space.Base
	name string // of what is beyond the packet
	end  int    // bytes
	// short is the end of what the kernel reads at least (share.Field.Short): of a packet that ends between the two,
	// nothing can be told.
	short int
}

// spot is what is read of a packet: a field without its mask.
type spot struct {
	space.Field
	short int
}

func spotOf(f share.Field) spot { return spot{f.At, f.Short} }

// place is where a field's value is in the scratch value.
type place struct {
	at    int
	words int
	class uint32 // a bit; 0: every packet has the field
}

// layout says where everything is.
type layout struct {
	share   *share.Share
	opts    Options
	fields  []spot // in the order of classes
	classes []class
	places  map[spot]place
	size    int
	key     int // where keys are put together
	work    int // what searches of trees keep
}

// words is how many u64 words hold so many bits.
func words(bits int) int { return (bits + 63) / 64 }

func newLayout(s *share.Share, opts Options) (*layout, error) {
	l := &layout{share: s, opts: opts, places: map[spot]place{}, size: atFields}
	for i := range s.Entries {
		e := &s.Entries[i]
		for _, c := range e.Conds {
			l.fieldsOf(c.Fields)
		}
		if e.Ending == share.Maps {
			l.fieldsOf(e.Key)
		}
	}
	slices.SortFunc(l.fields, func(f, g spot) int {
		a, b := classOf(f), classOf(g)
		return cmp.Or(cmp.Compare(a.base, b.base), cmp.Compare(a.name, b.name), cmp.Compare(a.end, b.end),
			cmp.Compare(a.short, b.short), cmp.Compare(f.Off, g.Off), cmp.Compare(f.Len, g.Len))
	})
	l.fields = slices.Compact(l.fields)
	for _, f := range l.fields {
		if err := l.place(f); err != nil {
			return nil, err
		}
	}
	l.key, l.work = l.size, l.size+8*maxKeyWords
	l.size = l.work + 8*maxWorkWords
	return l, nil
}

func (l *layout) fieldsOf(fs []share.Field) {
	for _, f := range fs {
		l.fields = append(l.fields, spotOf(f))
	}
}

func (l *layout) place(f spot) error {
	if f.Len < 1 || f.Len > 128 || f.Off < 0 {
		return fmt.Errorf("place %s: %d bits from bit %d: %w", f, f.Len, f.Off, ErrUnsupported)
	}
	c := classOf(f)
	switch {
	case f.Base == space.Beyond && !known(f.Name):
		return fmt.Errorf("read %s: %w", f, ErrUnsupported)
	case f.short != 0 && (f.short < 1 || f.short > f.Len):
		return fmt.Errorf("read %d bits of %s: %w", f.short, f, ErrUnsupported)
	case f.Base == space.Link && c.end > linkBytes, c.end > maxExtent:
		return fmt.Errorf("read %s, so far behind the header's beginning: %w", f, ErrUnsupported)
	}
	p := place{at: l.size, words: words(f.Len)}
	switch f.Name {
	case nameL3Proto:
		p.at = atProtocol
	case nameLength:
		p.at = atLength
	default:
		l.size += 8 * p.words
	}
	if l.size > maxScratch {
		return fmt.Errorf("place %s: too many fields: %w", f, ErrUnsupported)
	}
	if f.Base != space.Beyond || f.Name == nameL4Proto || f.Name == namePktType && l.share.Hook == share.XDP {
		i := slices.Index(l.classes, c)
		if i < 0 {
			i = len(l.classes)
			l.classes = append(l.classes, c)
		}
		if i >= maxClasses {
			return fmt.Errorf("place %s: more than %d kinds of fields: %w", f, maxClasses, ErrUnsupported)
		}
		p.class = 1 << i
	}
	l.places[f] = p
	return nil
}

const (
	maxExtent  = 512     // bytes of a header that may be looked at
	maxScratch = 1 << 14 // bytes; offsets of instructions have 15 bits
	// maxKeyWords is the longest key of a map, in u64 words.
	maxKeyWords  = 16
	maxWorkWords = tree.MaxWords + 2 // lookup.WorkBytes
)

// Names of fields that are not in the packet.
const (
	nameL4Proto = "meta l4proto"
	nameL3Proto = "meta protocol"
	nameLength  = "meta length"
	namePktType = "meta pkttype"
)

func known(name string) bool {
	switch name {
	case nameL4Proto, nameL3Proto, nameLength, namePktType:
		return true
	}
	return false
}

func classOf(f spot) class {
	if f.Base == space.Beyond {
		return class{base: f.Base, name: f.Name}
	}
	c := class{base: f.Base, end: (f.Off + f.Len + 7) / 8}
	if c.short = c.end; f.short != 0 {
		c.short = (f.Off + f.short + 7) / 8
	}
	return c
}

// bits is the classes of some fields.
func (l *layout) bits(fs []share.Field) uint32 {
	var b uint32
	for _, f := range fs {
		b |= l.places[spotOf(f)].class
	}
	return b
}

// from is the bit of a class and those of all that end behind it in the same header: what is missing when it is.
func (l *layout) from(c class) uint32 {
	var b uint32
	for i, d := range l.classes {
		if d.base == c.base && d.name == c.name && d.end >= c.end {
			b |= 1 << i
		}
	}
	return b
}

// bit is the bit of a class.
func (l *layout) bit(c class) uint32 { return 1 << slices.Index(l.classes, c) }

// of is the classes of a header.
func (l *layout) of(base space.Base) []class {
	var out []class
	for _, c := range l.classes {
		if c.base == base {
			out = append(out, c)
		}
	}
	return out
}

// doubtful is the classes of which the program may be unable to tell: all that is behind the network header, and what is
// not in the packet.
func (l *layout) doubtful() uint32 {
	b := l.transport() | l.beyond(nameL4Proto) | l.beyond(namePktType)
	for i, c := range l.classes {
		if c.short < c.end {
			b |= 1 << i
		}
	}
	return b
}

func (l *layout) transport() uint32 { return l.from(class{base: space.Transport}) }

func (l *layout) beyond(name string) uint32 {
	var b uint32
	for i, c := range l.classes {
		if c.name == name {
			b |= 1 << i
		}
	}
	return b
}

// inClass is the fields of a class.
func (l *layout) inClass(c class) []spot {
	var out []spot
	for _, f := range l.fields {
		if classOf(f) == c {
			out = append(out, f)
		}
	}
	return out
}

// furthest is the last byte of a header that is looked at, and 1.
func (l *layout) furthest(base space.Base) int {
	n := 0
	for _, c := range l.of(base) {
		n = max(n, c.end)
	}
	return n
}
