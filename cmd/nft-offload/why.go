package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/nft"
	"github.com/nft-offload/nft-offload/internal/plan"
	"github.com/nft-offload/nft-offload/internal/plan/lint"
	"github.com/nft-offload/nft-offload/internal/ruleset"
	"github.com/nft-offload/nft-offload/internal/why"
)

func whyCommand(e *env) *cobra.Command {
	c := &cobra.Command{
		Use:   "why",
		Short: "say why a flow, a device or a rule is not fast, in one sentence",
		Long: `why answers "why is this not offloaded" for a flow, a device or a rule: one
sentence, what it rests on, and what to do. It asks conntrack, the ruleset, the
devices and the datapath itself; without a daemon it says what it could not see.

It ends with code 0 when it has an answer, whatever the answer is: --json has it
in the field "stage". 2: the flow, device or rule is not one; 3: root is needed;
8: there is no such device.`,
		Example: `  nft-offload why flow 10.0.0.5:443
  nft-offload why device eth0
  nft-offload why rule inet filter forward handle 12`,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("why what? %q is neither flow, device nor rule; see `nft-offload why --help`", args[0])
			}
			return usage("why what? a flow, a device or a rule; see `nft-offload why --help`")
		},
	}
	var asJSON bool
	c.PersistentFlags().BoolVar(&asJSON, "json", false, "print JSON")
	c.AddCommand(whyFlowCommand(e, &asJSON), whyDeviceCommand(e, &asJSON), whyRuleCommand(e, &asJSON))
	return c
}

// flowsExplained is how many of several flows are explained unless --max says otherwise.
const flowsExplained = 3

func whyFlowCommand(e *env, asJSON *bool) *cobra.Command {
	most := flowsExplained
	c := &cobra.Command{
		Use:   "flow PATTERN",
		Short: "say which stage keeps a flow from the fast path",
		Long: `flow takes any part of a flow's addresses and ports: one end, or both with ">"
between them. Who began, and on which side of NAT an address was read, does not
matter. It looks twice within a second at conntrack and at the datapath, and
names the first stage that does not hold:

  no-flow-add        no rule hands flows over; see "nft-offload enable"
  not-tracked        not in conntrack
  not-forwarded      begins or ends on this machine
  state              not established, unanswered, or not TCP or UDP
  not-handed-over    no flow add rule has taken it
  device-not-listed  a device that it passes is in no flowtable
  device-off         a device that it passes is kept off the fast path
  waiting            for the daemon, the other direction, or more packets
  refused            the datapath learns nothing from it, with the reason
  kernel-flowtable   the kernel's flowtable has it, and nft-offload has not
  carried, hardware  fast

Of several flows the busiest are explained, and the others counted.`,
		Example: `  nft-offload why flow 10.0.0.5
  nft-offload why flow '10.0.0.5 > 1.2.3.4:443'
  nft-offload why flow tcp '[2001:db8::5]:443'
  nft-offload why flow :5001 --json | jq -r '.flows[].stage'`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := why.ParsePattern(strings.Join(args, " "))
			if err != nil {
				return usage("%w", err)
			}
			if most < 1 {
				return usage("--max %d: at least one", most)
			}
			r, err := e.whyFlow(p, most)
			if err != nil {
				return interrupted(err)
			}
			if *asJSON {
				return e.printJSON(r)
			}
			e.printFlowAnswers(r)
			return nil
		},
	}
	c.Flags().IntVar(&most, "max", flowsExplained, "explain at most so many flows")
	return c
}

func whyDeviceCommand(e *env, asJSON *bool) *cobra.Command {
	return &cobra.Command{
		Use:   "device NAME",
		Short: "say whether the fast path runs for a device, and why not",
		Long: `device says which flowtables list a device, where its packets are looked up or
why not, what is attached to it, and which flows through it were refused lately.
Of a device that no flowtable lists it says how to list it.`,
		Example: `  nft-offload why device eth0
  nft-offload why device br0 --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			a, err := e.whyDevice(args[0])
			if err != nil {
				return interrupted(err)
			}
			if *asJSON {
				return e.printJSON(a)
			}
			e.printAnswer(a)
			return nil
		},
	}
}

// flowAnswers is what `why flow` has to say.
type flowAnswers struct {
	Pattern string       `json:"pattern"`
	Flows   []why.Answer `json:"flows"`
	More    int          `json:"more"` // flows that match and are not explained
	// Packets are those of all flows that went slow meanwhile for what they are themselves (fragments, options): they
	// cannot be told by flow.
	Packets []engine.Count `json:"packets"`
	Period  engine.Seconds `json:"period_seconds"`
}

// betweenLooks is the time that counters are watched for.
const betweenLooks = time.Second

// whyFlow looks twice and explains the busiest flows.
func (e *env) whyFlow(p why.Pattern, most int) (flowAnswers, error) {
	g, err := e.gatherer()
	if err != nil {
		return flowAnswers{}, err
	}
	defer g.close()
	before, after, err := g.twice(p)
	if err != nil {
		return flowAnswers{}, err
	}
	flows := why.Join(p, before, after)
	r := flowAnswers{Pattern: p.String(), Flows: []why.Answer{}, Packets: why.Packets(before, after), Period: engine.Seconds(g.machine.Period)}
	if len(flows) == 0 {
		n, err := g.nothing(p)
		r.Flows = append(r.Flows, g.machine.ExplainNothing(n))
		return r, err
	}
	for i := range flows[:min(len(flows), most)] {
		flows[i].Route(g.routes)
		r.Flows = append(r.Flows, g.machine.Explain(flows[i]))
	}
	r.More = len(flows) - len(r.Flows)
	return r, nil
}

func (e *env) whyDevice(name string) (why.Answer, error) {
	g, err := e.gatherer()
	if err != nil {
		return why.Answer{}, err
	}
	defer g.close()
	l, listed := g.knows(name)
	if l == nil && !listed {
		return why.Answer{}, withCode(exitDevice, fmt.Errorf("there is no device %s; see `ip link`", name))
	}
	d := why.Device{Name: name}
	if l != nil {
		if d.Attached, err = g.attached(l.Ifindex); err != nil {
			return why.Answer{}, err
		}
	}
	if d.Before, d.After, err = g.twiceAt(name); err != nil {
		return why.Answer{}, err
	}
	return g.machine.ExplainDevice(d), nil
}

func whyRuleCommand(e *env, asJSON *bool) *cobra.Command {
	return &cobra.Command{
		Use:   "rule FAMILY TABLE CHAIN handle NUMBER",
		Short: "say where a rule runs, and what is found about it",
		Long: `rule says of one rule of the live ruleset whether it can run in hardware or at
XDP or why not, what "nft-offload plan" finds about it, and what its counter
counted within a second. Handles are those of "nft -a list ruleset".`,
		Example: `  nft-offload why rule inet filter forward handle 12
  nft-offload why rule netdev filter ingress handle 3 --json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			ref, err := why.ParseRule(args)
			if err != nil {
				return usage("%w", err)
			}
			a, err := e.whyRule(ref)
			if err != nil {
				return interrupted(err)
			}
			if *asJSON {
				return e.printJSON(a)
			}
			e.printAnswer(a)
			return nil
		},
	}
}

// whyRule reads the ruleset twice: counters are part of it.
func (e *env) whyRule(ref plan.Ref) (why.Answer, error) {
	if err := privileged(); err != nil {
		return why.Answer{}, err
	}
	begin := time.Now()
	before, err := e.findRule(ref)
	if err != nil {
		return why.Answer{}, err
	}
	p := e.progress()
	defer p.clear()
	p.step("watch its counter", 0)
	if err := pause(e.ctx, betweenLooks); err != nil {
		return why.Answer{}, err
	}
	p.step("plan the ruleset", 1)
	rs, err := nft.Read(e.ctx, "", nil)
	if err != nil {
		return why.Answer{}, err
	}
	after, err := why.FindRule(rs, ref)
	if err != nil {
		return why.Answer{}, usage("%w", err)
	}
	after = e.withEarly(rs, after)
	period := time.Since(begin)
	m, _, err := e.readMachine(e.ctx, os.DirFS("/"))
	if err != nil {
		return why.Answer{}, err
	}
	v, err := nft.List(e.ctx)
	if err != nil {
		return why.Answer{}, err
	}
	written := why.Raise(rs, engine.View{Ruleset: v}.Flowtables())
	return why.ExplainRule(why.RuleFacts{
		Ref: ref, Before: before, After: after, Written: written, Plan: plan.Make(written, m, plan.Options{}), Findings: lint.Check(written, m), Period: period,
	}), nil
}

func (e *env) findRule(ref plan.Ref) (*ruleset.Rule, error) {
	rs, err := nft.Read(e.ctx, "", nil)
	if err != nil {
		return nil, err
	}
	r, err := why.FindRule(rs, ref)
	if err != nil {
		return nil, usage("%w", err)
	}
	return e.withEarly(rs, r), nil
}
