package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nft-offload/nft-offload/internal/caps"
	"github.com/nft-offload/nft-offload/internal/nft"
	"github.com/nft-offload/nft-offload/internal/plan"
	"github.com/nft-offload/nft-offload/internal/plan/lint"
	"github.com/nft-offload/nft-offload/internal/ruleset"
)

// planOptions are the flags of plan.
type planOptions struct {
	caps    string
	devices []string
	show    string
	dot     bool
	json    bool
	// counters shows what the rules have counted.
	counters bool
}

func planCommand(e *env) *cobra.Command {
	var o planOptions
	c := &cobra.Command{
		Use:   "plan [FILE]",
		Short: "say where each rule and each flow can run, and why not faster",
		Long: `plan reads a ruleset and says for each rule of an ingress chain whether it can
run in hardware, at XDP, at tc, or in nftables only, and why; for each
flowtable what its devices can have, which devices are missing from it, and
which flows come to its "flow add" rules. Then it says what offloading loses or
risks, with the rule named. It changes nothing.

FILE is nft's language, or JSON as "nft -j list ruleset" prints it; "-" is
standard input. Without FILE it is the live ruleset, which takes root. JSON
needs neither root nor nft nor the devices.

The plan is for this machine, or with --caps for another: a file that "doctor
--caps-out" wrote, or a driver profile that all devices of the ruleset get.

--counters shows what the rules of ingress chains have counted, those of packets
that a program ended early included; it is for the live ruleset.

Rules run at XDP on devices whose driver has it, else at tc; --device says
otherwise, as for run.

--show tc prints the commands of the rules that go to hardware, --show bpf what
the programs at XDP and tc look at.`,
		Example: `  nft-offload plan
  nft-offload plan examples/router.nft --caps mlx5
  nft -j list ruleset | nft-offload plan - --json | jq .chains
  nft-offload plan firewall.nft --caps router.json --show tc
  nft-offload plan --counters
  nft-offload plan --dot | dot -Tsvg > plan.svg`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return e.plan(o, args)
		},
	}
	f := c.Flags()
	f.StringVar(&o.caps, "caps", "", "plan for another machine: a `FILE|PROFILE`; --caps help lists the profiles")
	f.StringArrayVar(&o.devices, "device", nil, "`DEVICE=xdp|tc|off`: the hook of one device; may be repeated")
	f.StringVar(&o.show, "show", "", "`tc|bpf`: print the commands for hardware, or the lookups at XDP and tc")
	f.BoolVar(&o.dot, "dot", false, "print a picture for Graphviz")
	f.BoolVar(&o.json, "json", false, "print JSON")
	f.BoolVar(&o.counters, "counters", false, "print what rules have counted, and where they run")
	return c
}

// planned is the JSON of a plan.
type planned struct {
	*plan.Plan
	Findings []lint.Finding `json:"findings"`
}

func (e *env) plan(o planOptions, args []string) error {
	if err := o.check(); err != nil {
		return err
	}
	options, err := o.options()
	if err != nil {
		return err
	}
	if o.caps == "help" {
		e.printProfiles()
		return nil
	}
	if o.counters && len(args) > 0 {
		return usage("--counters is for the live ruleset: a file has counted nothing")
	}
	rs, err := e.planned(args)
	if err != nil {
		return err
	}
	m, err := e.machineFor(o.caps, rs)
	if err != nil {
		return err
	}
	p := plan.Make(rs, m, options)
	switch {
	case o.counters:
		return e.planCounters(rs, p, o.json)
	case o.json:
		return e.printJSON(planned{p, append([]lint.Finding{}, lint.Check(rs, m)...)})
	case o.dot:
		fmt.Fprint(e.stdout, p.Dot())
	case o.show == "tc":
		fmt.Fprint(e.stdout, p.TC())
	case o.show == "bpf":
		fmt.Fprint(e.stdout, p.BPF())
	default:
		fmt.Fprint(e.stdout, p.Text())
		e.printLint(lint.Check(rs, m))
	}
	return nil
}

func (o planOptions) check() error {
	if !slices.Contains([]string{"", "tc", "bpf"}, o.show) {
		return usage("--show %q is neither tc nor bpf", o.show)
	}
	n := 0
	for _, set := range []bool{o.json, o.dot, o.show != ""} {
		if set {
			n++
		}
	}
	if n > 1 {
		return usage("--json, --dot and --show exclude each other")
	}
	return nil
}

// planned reads the ruleset to plan for.
func (e *env) planned(args []string) (*ruleset.Ruleset, error) {
	if len(args) == 0 {
		return e.readRuleset("plan", "", "plan for a file")
	}
	if args[0] == "" {
		return nil, usage("the name of the file is empty")
	}
	return e.readRuleset("plan", args[0], "")
}

// readRuleset reads a ruleset for a command: a file, or the live one for "", which takes root; or says what can be done
// without. What is wrong with a file is the caller's mistake.
func (e *env) readRuleset(command, file, or string) (*ruleset.Ruleset, error) {
	if file == "" {
		if err := privileged(); err != nil {
			return nil, fmt.Errorf("%w, or %s", err, or)
		}
	}
	rs, err := nft.Read(e.ctx, file, e.stdin)
	var noNamespace *nft.NoNamespaceError
	switch {
	case err == nil:
		return rs, nil
	case errors.As(err, &noNamespace), errors.Is(err, nft.ErrPermission):
		return nil, withCode(exitPermission, fmt.Errorf("%s: %w", command, err))
	case file == "", errors.Is(err, nft.ErrNotInstalled), errors.Is(err, nft.ErrJSON), errors.Is(err, context.Canceled):
		return nil, fmt.Errorf("%s: %w", command, err)
	}
	return nil, usage("%s: %w", command, err)
}

// machineFor is the machine to plan for: this one, one that a file describes, or one of devices of a profile.
func (e *env) machineFor(spec string, rs *ruleset.Ruleset) (caps.Machine, error) {
	if spec == "" {
		m, _, err := e.readMachine(e.ctx, os.DirFS("/"))
		if errors.Is(err, os.ErrPermission) {
			fmt.Fprintf(e.stderr, "nft-offload: this machine's devices are not known without root (%s): `sudo`, or --caps\n", oneLine(err))
			return caps.Machine{}, nil
		}
		if err != nil {
			return caps.Machine{}, fmt.Errorf("plan: %w; --caps plans for another machine", err)
		}
		return m, nil
	}
	if p, ok := caps.Lookup(spec); ok {
		return caps.Assume(p, plan.DevicesOf(rs)...), nil
	}
	b, err := os.ReadFile(spec)
	if errors.Is(err, os.ErrNotExist) {
		return caps.Machine{}, usage("--caps %q is neither a file nor a profile; `nft-offload plan --caps help` lists the profiles", spec)
	}
	if err != nil {
		return caps.Machine{}, usage("--caps: %w", err)
	}
	m, err := caps.Decode(b)
	if err != nil {
		return caps.Machine{}, usage("--caps %s: %w", spec, err)
	}
	return m, nil
}

func (e *env) printProfiles() {
	t := newTable(1, "PROFILE", "DEVICES", "READ IN LINUX")
	for _, p := range caps.Profiles() {
		t.row(p.Name, p.Title, p.Kernel.Number())
	}
	t.write(e.stdout, e.width())
}

// printLint prints what there is to say about a ruleset besides the plan.
func (e *env) printLint(fs []lint.Finding) {
	for _, f := range fs {
		color := e.plain
		if f.Severity != lint.Note {
			color = e.bad
		}
		var head strings.Builder
		wrap(&head, fmt.Sprintf("%s: ", f.Severity), fmt.Sprintf("%s: [%s] %s", f.Place, f.Reason.Code(), f.Detail), e.width())
		fmt.Fprintln(e.stdout)
		fmt.Fprint(e.stdout, strings.Replace(head.String(), f.Severity.String(), color(f.Severity.String()), 1))
		if f.Instead != "" {
			wrap(e.stdout, "  instead: ", f.Instead, e.width())
		}
	}
}
