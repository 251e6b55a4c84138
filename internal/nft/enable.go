package nft

import (
	"context"
	"fmt"
	"slices"

	"github.com/nft-offload/nft-offload/internal/handover"
)

// Table is the table of family inet that Enable makes and Disable removes. Nothing else of the ruleset is touched.
const Table = "nft_offload"

// enableFamily is the family of Table.
const enableFamily = "inet"

// enableText hands every established TCP and UDP flow to a flowtable. The chain comes late in the forward hook, behind
// filter (0) and security (50): a flow that other chains drop never gets there.
const enableText = `table inet nft_offload
delete table inet nft_offload
table inet nft_offload {
	comment "made by nft-offload enable"

	flowtable f {
		hook ingress priority 0
		devices = { %s }
	}

	chain forward {
		type filter hook forward priority filter + 100; policy accept;
		meta l4proto { tcp, udp } ct state established flow add @f
	}
}
`

// Enable offloads flows without any `flow add` in the user's ruleset: it makes Table, with a flowtable over the
// devices (lowered where needed) and one rule. Again with the same devices it changes nothing; with other devices it
// replaces the table in one transaction. A device that does not exist is a *DeviceError.
func Enable(ctx context.Context, devices []string, o Options) (Report, error) {
	if len(devices) == 0 {
		return Report{}, fmt.Errorf("enable: no devices")
	}
	if err := ready(); err != nil {
		return Report{}, fmt.Errorf("enable: %w", err)
	}
	devices = slices.Clone(devices)
	slices.Sort(devices)
	devices = slices.Compact(devices)
	e, err := prepare(ctx, o)
	if err != nil {
		return Report{}, fmt.Errorf("enable: %w", err)
	}
	for _, d := range devices {
		if !e.devices.exists(d) {
			return Report{}, fmt.Errorf("enable: %w", &DeviceError{d})
		}
	}
	live, err := List(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("enable: %w", err)
	}
	if f, ok := enabled(live); ok && f.Lowered == e.lower && f.Mark == e.mark && slices.Equal(f.Devices, devices) {
		return enableReport(f), nil
	}
	if e.lower && e.mark != 0 {
		if err := markError(live, e.mark); err != nil {
			return Report{}, fmt.Errorf("enable: %w", err)
		}
	}
	src := Source{Name: "table " + Table, Dir: "/", Text: fmt.Sprintf(enableText, quoted(devices))}
	p, err := rewrite(src, e)
	if err != nil {
		return Report{}, fmt.Errorf("enable: %w", err)
	}
	if err := p.run(ctx, src, "load"); err != nil {
		return Report{}, fmt.Errorf("enable: %w", err)
	}
	return p.report, nil
}

// enabled returns the flowtable of Table.
func enabled(r handover.Ruleset) (handover.Flowtable, bool) {
	for _, f := range r.Flowtables {
		if f.Family == enableFamily && f.Table == Table {
			return f, true
		}
	}
	return handover.Flowtable{}, false
}

// enableReport is the report of an Enable that found everything in place.
func enableReport(f handover.Flowtable) Report {
	r := Report{Lowered: f.Lowered, Rules: 1, Flowtables: []Flowtable{{
		Family: f.Family, Table: f.Table, Name: f.Name, Hook: f.Hook, Priority: f.Priority,
		Devices: f.Devices, Flags: f.Flags, Labels: f.Labels, Mark: f.Mark,
	}}}
	r.Deviations = deviations(r, f.Mark, false)
	return r
}

// Disable removes what Enable made and reports whether there was anything.
func Disable(ctx context.Context) (removed bool, err error) {
	live, err := List(ctx)
	if err != nil {
		return false, fmt.Errorf("disable: %w", err)
	}
	there := slices.ContainsFunc(live.Chains, func(c handover.Chain) bool { return c.Family == enableFamily && c.Table == Table })
	if !there {
		return false, nil
	}
	if _, err := run(ctx, "disable", "", "", "delete", "table", enableFamily, Table); err != nil {
		return false, err
	}
	return true, nil
}
