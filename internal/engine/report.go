package engine

import "fmt"

// report logs what is new about devices.
func (e *Engine) report() {
	now := map[string]string{}
	for _, d := range e.decisions {
		lines := logLines(d)
		now[d.Name] = fmt.Sprint(lines)
		if e.said[d.Name] == now[d.Name] {
			continue
		}
		for _, attrs := range lines {
			e.cfg.Log.Info("device", attrs...)
		}
	}
	e.reportRules(now)
	for name := range e.said {
		if _, ok := now[name]; !ok {
			e.cfg.Log.Info("device left", "device", name)
		}
	}
	if empty := len(now) == 0; empty != e.idle {
		e.idle = empty
		if empty {
			e.cfg.Log.Warn("the ruleset has no flowtable and no ingress chain, so there is nothing to carry: write `flow add` rules, or run `nft-offload enable DEVICE DEVICE`")
		}
	}
	e.said = now
}

// logLines are what the log says of a decision: where it runs, and a line for each reason behind the first.
func logLines(d Decision) [][]any {
	lines := [][]any{{"device", d.Name, "hook", d.Hook}}
	if where := d.Where(); where != string(d.Hook) {
		lines[0] = append(lines[0], "where", where)
	}
	for i, r := range d.Reasons() {
		attrs := []any{"code", r.Code, "reason", r.Error()}
		if i == 0 {
			lines[0] = append(lines[0], attrs...)
			continue
		}
		lines = append(lines, append([]any{"device", d.Name}, attrs...))
	}
	for _, u := range d.SlowAbove() {
		lines = append(lines, []any{"device", d.Name, "slow_above", u.Name, "code", u.Reason.Code, "reason", u.Reason.Error()})
	}
	return lines
}

// reportRules logs what is new about the rules of devices; now is what the log says of each.
func (e *Engine) reportRules(now map[string]string) {
	for _, d := range e.view.early.devices {
		software := 0
		for _, s := range d.Software {
			software += s.Rules
		}
		attrs := []any{"device", d.Name, "hook", d.Hook, "early", d.Early, "nftables", software}
		if !d.Reason.OK() {
			attrs = append(attrs, "code", d.Reason.Code, "reason", d.Reason.Error())
		}
		if d.Said != "" {
			attrs = append(attrs, "verifier", d.Said)
		}
		name := "rules of " + d.Name
		now[name] = fmt.Sprint(attrs)
		if e.said[name] != now[name] {
			e.cfg.Log.Info("rules", attrs...)
		}
	}
}
