package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/caps/doctor"
	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/handover"
	"github.com/nft-offload/nft-offload/internal/link"
	"github.com/nft-offload/nft-offload/internal/nft"
	"github.com/nft-offload/nft-offload/internal/tc"
)

// doctorOptions are the flags of doctor.
type doctorOptions struct {
	json    bool
	probe   bool
	capsOut string
}

func doctorCommand(e *env) *cobra.Command {
	var o doctorOptions
	c := &cobra.Command{
		Use:   "doctor [DEVICE...]",
		Short: "say what this machine and its devices can do, and what is in the way",
		Long: `doctor looks at the kernel, its options and tools, and at every device: driver,
firmware, speed, what stands on what, XDP features, hw-tc-offload, eswitch mode,
qdisc, programs of others, queues and rings. It says what each tier would do
there (hardware rules, hardware flows, XDP, tc, the kernel's flowtable, the slow
path), why not, and the next command for each finding. It changes nothing.

--probe asks the drivers of the devices named: a flower rule with skip_sw that
no real packet matches, taken back at once, and a flowtable with flags offload
that is only checked. It reports their words.

It exits with 0 when the machine is healthy, with 12 when it is degraded and
with 4 when it cannot carry flows.`,
		Example: `  nft-offload doctor
  nft-offload doctor eth0 --probe
  nft-offload doctor --caps-out router.json
  nft-offload doctor --json | jq .findings`,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if o.probe && len(args) == 0 {
				return usage("--probe needs the devices to ask: nft-offload doctor --probe eth0")
			}
			return e.doctor(o, args)
		},
	}
	f := c.Flags()
	f.BoolVar(&o.json, "json", false, "print JSON")
	f.BoolVar(&o.probe, "probe", false, "ask the drivers of these devices what they take")
	f.StringVar(&o.capsOut, "caps-out", "", "write what the machine can to `FILE`, for `plan --caps`; - is standard output")
	return c
}

func (e *env) doctor(o doctorOptions, only []string) error {
	if err := privileged(); err != nil {
		return err
	}
	m, ds, err := e.readMachine(e.ctx, os.DirFS("/"))
	if err != nil {
		return fmt.Errorf("diagnose: %w", err)
	}
	for _, name := range only {
		if _, ok := m.Device(name); !ok {
			return withCode(exitDevice, fmt.Errorf("diagnose: there is no device %q; see `ip link`", name))
		}
	}
	if o.capsOut != "" {
		if err := e.writeMachine(m, o.capsOut); err != nil || o.capsOut == "-" {
			return err
		}
	}
	in := doctor.Input{Machine: m, Fast: foresee(e.ctx, ds), Only: only}
	if o.probe {
		if in.Probes, err = probe(e.ctx, m, only); err != nil {
			return fmt.Errorf("diagnose: %w", err)
		}
	}
	r := doctor.Diagnose(in)
	if o.json {
		err = e.printJSON(r)
	} else {
		e.printDiagnosis(r)
	}
	return errors.Join(err, verdict(r.Health))
}

// verdict is the exit code of a health.
func verdict(h doctor.Health) error {
	switch h {
	case doctor.Degraded:
		return withCode(exitDegraded, errSilent)
	case doctor.Unable:
		return withCode(exitUnsupported, errSilent)
	case doctor.Healthy:
	}
	return nil
}

// writeMachine writes what a machine can for `plan --caps`.
func (e *env) writeMachine(m caps.Machine, file string) error {
	b, err := m.Encode()
	if err != nil {
		return err
	}
	if file == "-" {
		_, err = e.stdout.Write(b)
	} else {
		err = os.WriteFile(file, b, 0o644)
	}
	if err != nil {
		return fmt.Errorf("write capabilities: %w", err)
	}
	return nil
}

// foresee is what `run` would do on each device beside the ruleset that is loaded. A ruleset that cannot be read counts
// as empty: that nft is missing is a finding of its own.
func foresee(ctx context.Context, ds []link.Device) map[string]doctor.Fast {
	rules, err := nftSource{}.Read(ctx)
	if err != nil {
		rules = handover.Ruleset{}
	}
	out := map[string]doctor.Fast{}
	for _, d := range engine.Foresee(engine.View{Ruleset: rules, Links: engineLinks(ds)}) {
		f := doctor.Fast{Hook: string(d.Hook), Text: d.Reason.Text, Advice: d.Reason.Advice}
		if !d.Reason.OK() {
			f.Code = d.Reason.Code.Code()
		}
		if f.Advice == "use the tc hook" {
			f.Advice = "" // which is what run does
		}
		if !d.XDPTarget {
			f.Target = d.Target.Text
		}
		if len(d.On) > 1 || len(d.On) == 1 && d.On[0].Name != d.Name {
			for _, p := range d.On {
				f.On = append(f.On, fmt.Sprintf("%s (%s)", p.Name, p.Hook))
			}
		}
		out[d.Name] = f
	}
	return out
}

// probe asks the drivers of devices what they take.
func probe(ctx context.Context, m caps.Machine, devices []string) ([]doctor.Probe, error) {
	var out []doctor.Probe
	for _, name := range slices.Compact(slices.Sorted(slices.Values(devices))) {
		rule, err := probeRule(ctx, m, name)
		if err != nil {
			return nil, err
		}
		flows, err := probeFlows(ctx, m, name)
		if err != nil {
			return nil, err
		}
		out = append(out, rule, flows)
	}
	return out, nil
}

func probeRule(ctx context.Context, m caps.Machine, device string) (doctor.Probe, error) {
	p := doctor.Probe{Device: device, What: doctor.ProbeRule}
	for _, o := range []caps.Option{caps.OptClsFlower, caps.OptActGact, caps.OptSchIngress} {
		if m.Kernel.Has(o) == caps.No {
			p.Words = fmt.Sprintf("not asked: the kernel is built without %s (%s)", o, o.Symbol())
			return p, nil
		}
	}
	a, err := tc.Probe(ctx, device)
	switch {
	case errors.Is(err, tc.ErrNotInstalled):
		p.Words = "not asked: " + err.Error()
		return p, nil
	case err != nil:
		return p, err
	}
	p.Command = a.Command
	if a.Left != nil {
		p.Left = a.Left.Error()
	}
	switch {
	case a.Refused != nil:
		p.Taken, p.Words = caps.No, a.Refused.Text
	case a.InHW:
		p.Taken, p.Words = caps.Yes, "in_hw"
	default:
		p.Taken, p.Words = caps.No, "accepted, and not in hardware (not_in_hw)"
	}
	return p, nil
}

// earlyFree is the kernel bug that a refused flowtable meets.
const earlyFree = "CVE-2026-23392"

func probeFlows(ctx context.Context, m caps.Machine, device string) (doctor.Probe, error) {
	p := doctor.Probe{Device: device, What: doctor.ProbeFlowtable, Command: nft.ProbeCommand(device)}
	switch {
	case m.Kernel.Has(caps.OptFlowtable) == caps.No:
		p.Words = fmt.Sprintf("not asked: the kernel is built without flowtables (%s)", caps.OptFlowtable.Symbol())
		return p, nil
	case m.NFT == "":
		p.Words = "not asked: nft(8) is not installed"
		return p, nil
	case affected(m.Kernel.Version, earlyFree):
		p.Words = fmt.Sprintf("not asked: Linux %s frees a refused flowtable while packets may still use it (%s)", m.Kernel.Version, earlyFree)
		return p, nil
	}
	why, err := nft.ProbeOffload(ctx, device)
	if err != nil {
		return p, err
	}
	p.Taken, p.Words = caps.AnswerOf(why == ""), why
	return p, nil
}

// affected reports whether a kernel has a bug for certain.
func affected(v caps.Version, id string) bool {
	for _, q := range caps.QuirksOf(v) {
		if q.ID == id {
			return q.Answer == caps.Yes
		}
	}
	return false
}
