package handover

import (
	"math/bits"
	"strconv"
	"strings"
)

// LabelBits is the number of labels a connection can carry (XT_CONNLABEL_MAXBIT+1, nf_conntrack_labels.h).
const LabelBits = 128

// Labels is a set of conntrack label bits. Two words; label 0 is bit 0 of the first.
type Labels [2]uint64

// Label returns the set of one label. Numbers outside 0..127 give the empty set.
func Label(n int) Labels {
	var l Labels
	l.Add(n)
	return l
}

// Add puts a label into the set; numbers outside 0..127 are ignored.
func (l *Labels) Add(n int) {
	if n >= 0 && n < LabelBits {
		l[n/64] |= 1 << (n % 64)
	}
}

// Has reports whether the label is in the set.
func (l Labels) Has(n int) bool {
	return n >= 0 && n < LabelBits && l[n/64]&(1<<(n%64)) != 0
}

// Union returns the labels that are in either set.
func (l Labels) Union(m Labels) Labels { return Labels{l[0] | m[0], l[1] | m[1]} }

// Empty reports whether the set has no label.
func (l Labels) Empty() bool { return l == Labels{} }

// List returns the labels in ascending order.
func (l Labels) List() []int {
	var out []int
	for w, word := range l {
		for ; word != 0; word &= word - 1 {
			out = append(out, w*64+bits.TrailingZeros64(word))
		}
	}
	return out
}

// String renders the set as nft prints a list of labels, "126,127".
func (l Labels) String() string {
	var s []string
	for _, n := range l.List() {
		s = append(s, strconv.Itoa(n))
	}
	return strings.Join(s, ",")
}

// MarshalText renders the set as String does.
func (l Labels) MarshalText() ([]byte, error) { return []byte(l.String()), nil }
