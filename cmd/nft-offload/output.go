package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// tableWidth is what tables fit where the output is no terminal, or one of unknown size.
const tableWidth = 80

// table lays out rows in columns: as wide as needed, and where the line is too long the shrinkable column gives way.
type table struct {
	head   []string
	right  map[int]bool // columns that are numbers
	shrink int          // column that is cut, or -1
	rows   [][]string
}

func newTable(shrink int, head ...string) *table {
	t := &table{shrink: shrink, right: map[int]bool{}}
	for i, h := range head {
		// A heading that begins with ">" is of a column of numbers.
		name, right := strings.CutPrefix(h, ">")
		t.head = append(t.head, name)
		t.right[i] = right
	}
	return t
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// write prints the table in so many columns.
func (t *table) write(w io.Writer, width int) {
	const gap = 2
	widths := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	total := -gap
	for _, n := range widths {
		total += n + gap
	}
	const least = 8
	if t.shrink >= 0 && total > width {
		widths[t.shrink] = max(min(least, widths[t.shrink]), widths[t.shrink]-(total-width))
	}
	for _, row := range append([][]string{t.head}, t.rows...) {
		var line strings.Builder
		for i, c := range row {
			c = cut(c, widths[i])
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c))
			if t.right[i] {
				c = pad + c
			} else {
				c += pad
			}
			if i > 0 {
				line.WriteString(strings.Repeat(" ", gap))
			}
			line.WriteString(c)
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// cut shortens text to n characters and shows that it did.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	r := []rune(s)
	return string(r[:max(n-1, 0)]) + "…"
}

// wrap prints text in lines of at most width: the first behind the prefix, the others indented as far.
func wrap(w io.Writer, prefix, text string, width int) {
	indent := strings.Repeat(" ", utf8.RuneCountInString(prefix))
	line, empty := prefix, true
	for word := range strings.FieldsSeq(text) {
		if !empty && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			fmt.Fprintln(w, line)
			line, empty = indent, true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
	}
	if !empty {
		fmt.Fprintln(w, line)
	}
}

// number renders a count with at most four characters and a unit: 999, 1.23k, 45.6M.
func number(n uint64) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	f, unit := float64(n)/1000, 0
	for f >= 999.5 { // which would be rendered as 1000
		f, unit = f/1000, unit+1
	}
	digits := 0
	switch {
	case f < 9.995:
		digits = 2
	case f < 99.95:
		digits = 1
	}
	return fmt.Sprintf("%.*f%c", digits, f, "kMGTPE"[unit])
}

// size renders bytes in decimal units, as network rates are: 999 B, 1.23 kB.
func size(n uint64) string {
	s := number(n)
	if last := s[len(s)-1]; last < '0' || last > '9' {
		return s[:len(s)-1] + " " + s[len(s)-1:] + "B"
	}
	return s + " B"
}

// span renders a duration with two units at most: 340ms, 1.2s, 3m07s, 2h05m, 4d03h.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 0:
		return "0s"
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Truncate(100*time.Millisecond).Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%02dh", d/day, d%day/time.Hour)
}

// percent renders a share of 0 to 1.
func percent(f float64) string { return fmt.Sprintf("%.1f %%", 100*f) }

func (e *env) width() int {
	if e.terminal > 0 {
		return e.terminal
	}
	return tableWidth
}

// printJSON prints one value, for programs and for people with jq.
func (e *env) printJSON(v any) error {
	enc := json.NewEncoder(e.stdout)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// bold, good, bad and dim set off words on a terminal.
func (e *env) bold(s string) string { return e.style("1", s) }
func (e *env) good(s string) string { return e.style("32", s) }
func (e *env) bad(s string) string  { return e.style("33", s) }

// style wraps text in an escape sequence (ECMA-48 SGR).
func (e *env) style(code, s string) string {
	if !e.color() {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}
