package bench

import (
	"fmt"
	"io"
	"strings"
)

// RulesReport is what the benchmark of rules found.
type RulesReport struct {
	Rows    []RulesRow `json:"rows"`
	Targets []Target   `json:"targets"`
	// Refused are rows that are not shown, because the frames did not have the verdicts and counters that they should.
	Refused []RulesRefused `json:"refused,omitempty"`
	// Cut are chains that had fewer rounds than asked for, because the benchmark would have taken too long.
	Cut     []string `json:"cut,omitempty"`
	Machine Machine  `json:"machine"`
	Method  []string `json:"method"`
}

// RulesRow is one path through one chain.
type RulesRow struct {
	Path        string  `json:"path"`
	Shape       string  `json:"shape"`
	Keys        string  `json:"keys,omitempty"` // what the elements of a set are: exact, prefix, range
	Rules       int     `json:"rules"`
	Elements    int     `json:"elements"`
	NsPerPacket float64 `json:"ns_per_packet"` // median of the rounds; sender included
	Mpps        float64 `json:"mpps"`
	Spread      float64 `json:"spread"` // distance between the quartiles of the rounds, as a share of the median
	Rounds      int     `json:"rounds"`
	Packets     int     `json:"packets"`
	LostShare   float64 `json:"lost_share"`
	Checked     int     `json:"checked"` // frames that had the verdict and counters that eval says
	Costs
}

// Costs is what else a path costs; 0 where a path has no such thing, or nobody can say.
type Costs struct {
	MemoryBytes int64   `json:"memory_bytes,omitempty"` // of maps and programs, in the kernel
	LoadMs      float64 `json:"load_ms,omitempty"`      // the chain, from nothing
	FillMs      float64 `json:"fill_ms,omitempty"`      // all elements of the set
	ReloadMs    float64 `json:"reload_ms,omitempty"`    // the same rules once more, from nft's listing to the swap
	Reload      *Reload `json:"reload,omitempty"`       // its parts; nil where it has none
	ChangeMs    float64 `json:"change_ms,omitempty"`    // one element, from the kernel's commit to the effect
}

// Reload is what a reload is made of.
type Reload struct {
	ReadMs    float64 `json:"read_ms"` // nft's listing
	PlanMs    float64 `json:"plan_ms"`
	CompileMs float64 `json:"compile_ms"`
	LoadMs    float64 `json:"load_ms"` // maps, their contents, the verifier
	SwapMs    float64 `json:"swap_ms"`
}

// RulesRefused is a row that is not shown, and why.
type RulesRefused struct {
	Path     string `json:"path"`
	Shape    string `json:"shape"`
	Keys     string `json:"keys,omitempty"`
	Rules    int    `json:"rules"`
	Elements int    `json:"elements"`
	Why      string `json:"why"`
}

func (k chainKind) row(p *rulesPath, bursts []burst, checked int) RulesRow {
	w := RulesRow{
		Path: p.name, Shape: k.shape, Keys: k.keys, Rules: k.rules, Elements: k.elements, Rounds: len(bursts),
		Checked: checked, Costs: p.costs,
	}
	var ns []float64
	lost := 0
	for _, s := range bursts {
		ns = append(ns, s.ns())
		w.Packets += s.packets
		lost += s.lost
	}
	w.NsPerPacket = median(ns)
	w.Mpps = 1000 / w.NsPerPacket
	w.Spread = spread(ns)
	w.LostShare = float64(lost) / float64(max(w.Packets+lost, 1))
	return w
}

func (k chainKind) refuse(path string, why error) RulesRefused {
	return RulesRefused{Path: path, Shape: k.shape, Keys: k.keys, Rules: k.rules, Elements: k.elements, Why: why.Error()}
}

// WriteText writes the report for people, in lines of at most 80 characters.
func (r RulesReport) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%-12s %-10s %8s %8s %6s %6s %7s %8s %7s\n",
		"PATH", "SHAPE", "RULES OR", "NS", "MPPS", "SPREAD", "X NFT", "MEMORY", "LOAD MS")
	fmt.Fprintf(&b, "%-12s %-10s %8s\n", "", "", "ELEMENTS")
	for i, row := range r.Rows {
		if i > 0 && !row.sameChain(r.Rows[i-1]) {
			fmt.Fprintln(&b)
		}
		r.writeRow(&b, row)
	}
	for _, n := range r.Refused {
		wrap(&b, "", fmt.Sprintf("NOT SHOWN: %s, %s, %d rules, %d elements: %s", n.Path, shapeText(n.Shape, n.Keys), n.Rules, n.Elements, n.Why))
	}
	for _, c := range r.Cut {
		wrap(&b, "", "FEWER ROUNDS: "+c)
	}
	r.writeChanges(&b)
	Report{Targets: r.Targets}.writeTargets(&b)
	fmt.Fprintln(&b, "\nHow it was measured")
	for _, m := range r.Method {
		wrap(&b, "  ", m)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func shapeText(shape, keys string) string {
	if keys == "" {
		return shape
	}
	return shape + " " + keys
}

func (w RulesRow) sameChain(v RulesRow) bool {
	return w.Shape == v.Shape && w.Keys == v.Keys && w.Rules == v.Rules && w.Elements == v.Elements
}

func (r RulesReport) writeRow(b *strings.Builder, row RulesRow) {
	ratio := ""
	if nft, ok := r.find(PathNFT, row.Shape, row.Keys, row.Rules, row.Elements); ok && row.Path != PathSender {
		ratio = fmt.Sprintf("%.2f", nft.NsPerPacket/row.NsPerPacket)
	}
	n := row.Rules
	if row.Shape == ShapeSet {
		n = row.Elements
	}
	ns := fmt.Sprintf("%.1f", row.NsPerPacket)
	if row.NsPerPacket >= 1e6 {
		ns = fmt.Sprintf("%.0f", row.NsPerPacket)
	}
	fmt.Fprintf(b, "%-12s %-10s %8d %8s %6.2f %5.1f%% %7s %8s %7s\n", row.Path, shapeText(row.Shape, row.Keys), n,
		ns, row.Mpps, 100*row.Spread, ratio, memory(row.MemoryBytes), millis(row.LoadMs+row.FillMs))
}

// writeChanges is what changing a chain and a set takes.
func (r RulesReport) writeChanges(b *strings.Builder) {
	first := true
	for _, row := range r.Rows {
		if row.ReloadMs == 0 && row.ChangeMs == 0 {
			continue
		}
		if first {
			fmt.Fprintf(b, "\n%-12s %-10s %8s %8s  %-27s %8s\n", "CHANGES, MS", "SHAPE", "SIZE", "RELOAD", "READ/PLAN/COMPILE/LOAD/SWAP", "ELEMENT")
			first = false
		}
		parts := ""
		if p := row.Reload; p != nil {
			parts = fmt.Sprintf("%.0f/%.0f/%.0f/%.0f/%.0f", p.ReadMs, p.PlanMs, p.CompileMs, p.LoadMs, p.SwapMs)
		}
		fmt.Fprintf(b, "%-12s %-10s %8d %8s  %-27s %8s\n", row.Path, shapeText(row.Shape, row.Keys), max(row.Rules, row.Elements),
			millis(row.ReloadMs), parts, millis(row.ChangeMs))
	}
}

func millis(ms float64) string {
	switch {
	case ms == 0:
		return ""
	case ms < 10:
		return fmt.Sprintf("%.2f", ms)
	default:
		return fmt.Sprintf("%.0f", ms)
	}
}

// memory renders a number of bytes.
func memory(n int64) string {
	const kibi, mebi = 1 << 10, 1 << 20
	switch {
	case n == 0:
		return ""
	case n < 10*mebi:
		return fmt.Sprintf("%.0f KiB", float64(n)/kibi)
	default:
		return fmt.Sprintf("%.0f MiB", float64(n)/mebi)
	}
}

func (r RulesReport) find(path, shape, keys string, rules, elements int) (RulesRow, bool) {
	for _, w := range r.Rows {
		if w.Path == path && w.Shape == shape && w.Keys == keys && w.Rules == rules && w.Elements == elements {
			return w, true
		}
	}
	return RulesRow{}, false
}
