package tree

import "fmt"

const (
	// MaxWords is the most words that a key may have.
	MaxWords = 8
	// MaxHeight is the most inner pages that a search goes through.
	MaxHeight = 1<<HeightBits - 1

	// HeightBits is the place of the height in the number of the root.
	HeightBits = 3
	// cell is the unit of the arena, in bytes.
	cell = 4
)

// Layout is how keys are kept in pages. It is the same for the writer and for the reader. Layouts can be compared.
type Layout struct {
	words int
	bits  [MaxWords]uint8
}

// Node is how records lie in a page.
type Node struct {
	Records int // in a page
	Stride  int // bytes from record to record; the key comes first
	Value   int // bytes from the record to its data, or to the number of the page below
}

// NewLayout makes the layout for keys of words that have so many bits each, the most significant word first.
func NewLayout(bits ...int) (Layout, error) {
	if len(bits) == 0 || len(bits) > MaxWords {
		return Layout{}, fmt.Errorf("lay out a tree: keys of %d words, not 1 to %d", len(bits), MaxWords)
	}
	l := Layout{words: len(bits)}
	for i, n := range bits {
		if n < 1 || n > 64 {
			return Layout{}, fmt.Errorf("lay out a tree: word %d of the key has %d bits, not 1 to 64", i, n)
		}
		l.bits[i] = uint8(n)
	}
	return l, nil
}

// Words is the number of words of a key.
func (l Layout) Words() int { return l.words }

// Bits is the width of a word of the key.
func (l Layout) Bits(word int) int { return int(l.bits[word]) }

// WordBytes is the size of a word in a page: 4, or 8 if one of the words needs it.
func (l Layout) WordBytes() int {
	for _, n := range l.bits {
		if n > 32 {
			return 8
		}
	}
	return 4
}

// Leaf is how records lie in a leaf: first key, last key, data of 4 bytes.
func (l Layout) Leaf() Node { return l.node(2 * l.words * l.WordBytes()) }

// Inner is how records lie in an inner page: key, number of the page below in 4 bytes.
func (l Layout) Inner() Node { return l.node(l.words * l.WordBytes()) }

func (l Layout) node(value int) Node {
	word := l.WordBytes()
	stride := (value + cell + word - 1) / word * word
	return Node{Records: l.PageBytes() / stride, Stride: stride, Value: value}
}

// PageBytes is the size of a page, the value size of the array map. Small pages cost more steps from page to page, large
// ones touch more cache lines; measured with 1,000,000 elements (BenchmarkLookup in package lookup).
func (l Layout) PageBytes() int {
	switch key := l.words * l.WordBytes(); {
	case key <= 16:
		return 512
	case key <= 32:
		return 1024
	default:
		return 2048
	}
}

// Pages is how many pages an arena needs for so many elements: every page half full, as changes in the worst order leave
// them, and some more for changes that wait for no reader. Reserved pages come on top.
func (l Layout) Pages(elements int) int {
	n := l.levels(elements, func(records int) int { return records / 2 })
	return n + max(minSpare, n/8)
}

// minSpare is room for 50 changes and more before readers have to be waited for.
const minSpare = 256

// FixedPages is how many pages an arena needs for so many elements that Build puts there and that never change.
func (l Layout) FixedPages(elements int) int { return l.levels(elements, room) }

// levels counts pages with so many records each, the header included.
func (l Layout) levels(elements int, room func(records int) int) int {
	total, below := 1, max(elements, 1)
	for records := l.Leaf().Records; ; records = l.Inner().Records {
		n := room(records)
		below = (below + n - 1) / n
		total += below
		if below == 1 {
			return total
		}
	}
}

// Height is the most inner pages on the way to a leaf, in an arena of so many pages: enough for pages that are half full.
// The writer keeps to it, so readers may rely on it.
func (l Layout) Height(pages int) int {
	height := 0
	for below := pages; below > 1 && height < MaxHeight; height++ {
		half := l.Inner().Records / 2
		below = (below + half - 1) / half
	}
	return height
}

// top is the highest value of a word.
func (l Layout) top(word int) uint64 { return ^uint64(0) >> (64 - l.bits[word]) }
