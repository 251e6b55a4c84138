package vm

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// notProven is what the matrix says where a kernel's run has no result.
const notProven = "-"

// Proof is what a run under one kernel has proven.
type Proof struct {
	Kernel   string
	Features []testkit.Feature
}

// Matrix writes proofs as Markdown: a table for each section in the order in which they come, a row for each feature in
// alphabetical order, a column for each kernel. Two results for one feature under one kernel are an error.
func Matrix(proofs []Proof) (string, error) {
	var sections []string
	rows := map[string]map[string][]string{} // section, feature: results, one for each proof
	for i, p := range proofs {
		for _, f := range p.Features {
			if !slices.Contains(sections, f.Section) {
				sections = append(sections, f.Section)
				rows[f.Section] = map[string][]string{}
			}
			row := rows[f.Section][f.Name]
			if row == nil {
				row = slices.Repeat([]string{notProven}, len(proofs))
				rows[f.Section][f.Name] = row
			}
			if row[i] != notProven && row[i] != f.Result {
				return "", fmt.Errorf("write matrix: kernel %s: %s, %s: both %q and %q", p.Kernel, f.Section, f.Name, row[i], f.Result)
			}
			row[i] = f.Result
		}
	}
	var b strings.Builder
	for _, s := range sections {
		fmt.Fprintf(&b, "\n## %s\n\n| |", s)
		for _, p := range proofs {
			fmt.Fprintf(&b, " %s |", p.Kernel)
		}
		b.WriteString("\n|---|" + strings.Repeat("---|", len(proofs)) + "\n")
		for _, name := range slices.Sorted(maps.Keys(rows[s])) {
			fmt.Fprintf(&b, "| %s | %s |\n", name, strings.Join(rows[s][name], " | "))
		}
	}
	return b.String(), nil
}
