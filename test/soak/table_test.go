package soak

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// doc has the table of a real run, and what each row means; between these marks it is written by a full run with
// UPDATE_DOCS=1.
const (
	doc       = "../../docs/reliability.md"
	docBegin  = "<!-- written by UPDATE_DOCS=1 make soak: begin -->\n"
	docEnd    = "<!-- end -->\n"
	updateEnv = "UPDATE_DOCS"
)

// line is a row with its figures.
type line struct {
	row
	form

	without, with outcome // sums of the pairs
}

// table prints the lines as Markdown that is also readable as it is.
func table(lines []line) string {
	cells := [][]string{{"what happens", "times", "connections", "lost without", "lost with", "damaged", "datagrams missing without", "with", "carried"}}
	for _, l := range lines {
		cells = append(cells, []string{
			l.name, fmt.Sprint(l.times * l.pairs), fmt.Sprint(l.with.Talks),
			fmt.Sprint(len(l.without.Lost)), fmt.Sprint(len(l.with.Lost)),
			fmt.Sprint(l.without.Damaged + l.with.Damaged), fmt.Sprint(l.without.Missing), fmt.Sprint(l.with.Missing),
			fmt.Sprintf("%.0f %%", 100*float64(l.with.Fast)/max(1, float64(l.with.Fast+l.with.Slow))),
		})
	}
	width := make([]int, len(cells[0]))
	for _, row := range cells {
		for i, c := range row {
			width[i] = max(width[i], len(c))
		}
	}
	var b strings.Builder
	for n, row := range cells {
		for i, c := range row {
			pad := strings.Repeat(" ", width[i]-len(c))
			if i == 0 {
				c += pad
			} else {
				c = pad + c
			}
			fmt.Fprintf(&b, "| %s ", c)
		}
		b.WriteString("|\n")
		if n == 0 {
			for i, w := range width {
				rule := strings.Repeat("-", w+1) + ":"
				if i == 0 {
					rule = strings.Repeat("-", w+2)
				}
				b.WriteString("|" + rule)
			}
			b.WriteString("|\n")
		}
	}
	return b.String()
}

// meanings explains each row.
func meanings(rows []row) string {
	var b strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&b, "- **%s.** %s Lost in both runs: %s. Also checked, with the daemon: %s.\n", r.name, r.what, r.lost, r.proves)
	}
	return b.String()
}

// report prints the table of a full run, and writes it into the documentation when asked.
func report(t *testing.T, lines []line, seed uint64, took time.Duration) {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	release, _, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
	text := fmt.Sprintf("Seed %d, Linux %s, %d CPUs, %.0f minutes.\n\n%s", seed, release, runtime.NumCPU(), took.Minutes(), table(lines))
	fmt.Printf("\n%s\n", text)
	if os.Getenv(updateEnv) == "" || t.Failed() || len(lines) != len(rows()) {
		return
	}
	head, _, tail := docParts(t)
	if err := os.WriteFile(doc, []byte(head+docBegin+text+"\n"+meanings(rows())+docEnd+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}

func docParts(t *testing.T) (head, body, tail string) {
	t.Helper()
	b, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(b), docBegin)
	body, tail, ok2 := strings.Cut(rest, docEnd)
	if !ok || !ok2 {
		t.Fatalf("%s lacks the marks %q and %q", doc, docBegin, docEnd)
	}
	return head, body, tail
}

func TestDocsHaveEveryRow(t *testing.T) {
	_, body, _ := docParts(t)
	if !strings.HasSuffix(body, meanings(rows())) {
		t.Errorf("%s does not say what each row means; UPDATE_DOCS=1 make soak writes it:\n%s", doc, meanings(rows()))
	}
	var names []string
	for text := range strings.Lines(body) {
		if name, ok := strings.CutPrefix(text, "| "); ok {
			name, _, _ = strings.Cut(name, "|")
			names = append(names, strings.TrimSpace(name))
		}
	}
	var want []string
	for _, r := range rows() {
		want = append(want, r.name)
	}
	if len(names) == 0 || !slices.Equal(names[1:], want) { // the first is the heading
		t.Errorf("%s has a table of %q, the rows are %q", doc, names, want)
	}
}
