package bench

import "fmt"

// targets compares what was measured with what the project promises; figures that were not measured are left out.
func (r RulesReport) targets() []Target {
	var out []Target
	for _, shape := range Shapes() {
		out = append(out, r.chainTargets(shape)...)
	}
	for _, keys := range setKeys() {
		out = append(out, r.setTargets(keys)...)
	}
	return out
}

func (r RulesReport) chainTargets(shape string) (out []Target) {
	for _, t := range []struct {
		rules int
		limit float64
	}{{100, 8}, {1000, 50}} {
		nft, ok := r.find(PathNFT, shape, "", t.rules, 0)
		xdp, ok2 := r.find(PathXDP, shape, "", t.rules, 0)
		if ok && ok2 {
			out = append(out, target(fmt.Sprintf("nft/xdp at %d rules, %s", t.rules, shape), nft.NsPerPacket/xdp.NsPerPacket, t.limit, false))
		}
	}
	for _, path := range []string{PathXDP, PathTC} {
		out = append(out, r.growth(path, fmt.Sprintf("10000 rules/1, %s, %s", shape, path), 2,
			RulesRow{Shape: shape, Rules: 1}, RulesRow{Shape: shape, Rules: 10_000})...)
		if w, ok := r.find(path, shape, "", 10_000, 0); ok {
			out = append(out, target(fmt.Sprintf("reload of 10000, %s, %s, ms", shape, path), w.ReloadMs, 1000, true))
		}
	}
	return out
}

func (r RulesReport) setTargets(keys string) (out []Target) {
	for _, path := range []string{PathXDP, PathTC} {
		small := RulesRow{Shape: ShapeSet, Keys: keys, Rules: 1, Elements: 1000}
		large := RulesRow{Shape: ShapeSet, Keys: keys, Rules: 1, Elements: 1_000_000}
		out = append(out, r.growth(path, fmt.Sprintf("set 1000000/1000, %s, %s", keys, path), 3, small, large)...)
		if w, ok := r.find(path, ShapeSet, keys, 1, large.Elements); ok {
			out = append(out, target(fmt.Sprintf("1 of 1000000, %s, %s, ms", keys, path), w.ChangeMs, 10, true))
		}
	}
	return out
}

// growth is by how much a packet costs more with the larger chain; nothing where it was not measured.
func (r RulesReport) growth(path, name string, limit float64, small, large RulesRow) []Target {
	cost := func(path string, of RulesRow) float64 {
		w, _ := r.find(path, of.Shape, of.Keys, of.Rules, of.Elements)
		return w.NsPerPacket
	}
	a, b := cost(path, small), cost(path, large)
	if a == 0 || b == 0 {
		return nil
	}
	t := target(name, b/a, limit, true)
	if sa, sb := cost(PathSender, small), cost(PathSender, large); sa > 0 && sb > 0 && a > sa {
		t.Own = (b - sb) / (a - sa)
	}
	return []Target{t}
}
