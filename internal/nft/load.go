package nft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/nft-offload/nft-offload/internal/handover"
)

// Options says how Load and Enable treat a ruleset.
type Options struct {
	Lower bool      // lower even where the kernel has flowtables
	Mark  uint32    // lower with this one bit of the conntrack mark in place of labels; 0: labels
	Stdin io.Reader // read for the path "-"; nil: os.Stdin
	// Begin, if not nil, is called when everything was checked, right before the ruleset is changed. An error stops it.
	Begin func() error
}

// Load loads a ruleset file ("-": standard input), in nft's language or its JSON, as `nft -f` would: in one
// transaction, on top of what is there unless it flushes it. Flowtables lose devices that do not exist, and
// `flags offload` where a device refuses it. Where the kernel has no flowtables, or with Options.Lower, the ruleset
// is lowered. On any error the live ruleset is as it was.
//
// Errors: *fs.PathError (no such file), ErrPermission, ErrNotInstalled, *Error (nft refused; File and Line are the
// user's), *SourceError and *UnsupportedError (this package did), *MarkError.
func Load(ctx context.Context, path string, o Options) (Report, error) {
	stdin := o.Stdin
	if stdin == nil {
		stdin = os.Stdin
	}
	src, err := ReadSource(path, stdin)
	if err != nil {
		return Report{}, err
	}
	return LoadSource(ctx, src, o)
}

// LoadSource is Load of a source that was read before.
func LoadSource(ctx context.Context, src Source, o Options) (Report, error) {
	if err := ready(); err != nil {
		return Report{}, fmt.Errorf("load ruleset: %w", err)
	}
	e, err := prepare(ctx, o)
	if err != nil {
		return Report{}, fmt.Errorf("load ruleset: %w", err)
	}
	p, err := rewrite(src, e)
	if err != nil {
		return Report{}, fmt.Errorf("load ruleset: %w", err)
	}
	if p.report.Lowered && o.Mark != 0 {
		if err := checkMark(ctx, src, p, o.Mark); err != nil {
			return Report{}, fmt.Errorf("load ruleset: %w", err)
		}
	}
	err = p.run(ctx, src, "check", "-c")
	if err != nil && !e.lower {
		p, err = withoutOffload(ctx, src, e, p, err)
	}
	if err != nil {
		return Report{}, err
	}
	if o.Begin != nil {
		if err := o.Begin(); err != nil {
			return Report{}, fmt.Errorf("load ruleset: %w", err)
		}
	}
	return p.report, p.run(ctx, src, "load")
}

// prepare finds out what rewriting depends on: the kernel, the devices, the labels in use.
func prepare(ctx context.Context, o Options) (edit, error) {
	has, err := HasFlowtables(ctx)
	if err != nil {
		return edit{}, err
	}
	here, err := devicesHere()
	if err != nil {
		return edit{}, err
	}
	e := edit{lower: o.Lower || !has, mark: o.Mark, devices: here.forKernel(ctx)}
	if e.lower {
		e.devices = here.forSet()
	}
	if !e.lower || e.mark != 0 {
		return e, nil
	}
	// The live ruleset counts even when the file flushes it: until then it goes on labelling connections.
	live, err := List(ctx)
	if err != nil {
		return edit{}, err
	}
	carried, err := connectionLabels()
	if err != nil {
		return edit{}, err
	}
	e.used = live.Labels.Union(carried).Union(namedLabels())
	return e, nil
}

// run gives the program to nft.
func (p program) run(ctx context.Context, src Source, op string, flags ...string) error {
	args := append(flags, "-I", ".", "-f", "-")
	if src.json() {
		// For JSON, nft opens /dev/stdin instead of reading its input; not every /dev has that name.
		args = append(flags, "-j", "-f", "/proc/self/fd/0")
	}
	_, err := run(ctx, op, src.Dir, p.text, args...)
	if refused, ok := errors.AsType[*Error](err); ok {
		refused.relocate(p.where)
		if refused.File == "" {
			refused.File = src.Name
		}
	}
	return err
}

// withoutOffload takes `flags offload` from the flowtables whose devices refuse it, and checks again. Where that is
// not what the first check stumbled over, its error stands.
func withoutOffload(ctx context.Context, src Source, e edit, p program, first error) (program, error) {
	e.noOffload = map[key]string{}
	for _, f := range p.report.Flowtables {
		if !f.has("offload") || len(f.Devices) == 0 {
			continue
		}
		why, err := offloadRefused(ctx, f)
		if err != nil {
			return p, err
		}
		if why != "" {
			e.noOffload[f.key()] = why
		}
	}
	if len(e.noOffload) == 0 {
		return p, first
	}
	p, err := rewrite(src, e)
	if err != nil {
		return p, err
	}
	return p, p.run(ctx, src, "check", "-c")
}

// offloadRefused says why the devices of a flowtable refuse `flags offload`; "" when they do not. The kernel asks the
// drivers when the flowtable is made (nf_tables_newflowtable), so a check does, too.
func offloadRefused(ctx context.Context, f Flowtable) (string, error) {
	try := func(devices []string) (*Error, error) {
		text := fmt.Sprintf("table %s nft_offload_probe { flowtable f { hook ingress priority 0; flags offload; devices = { %s }; }; }\n",
			f.Family, quoted(devices))
		_, err := run(ctx, "probe", "", text, "-c", "-f", "-")
		var refused *Error
		if err != nil && !errors.As(err, &refused) {
			return nil, err
		}
		return refused, nil
	}
	refused, err := try(f.Devices)
	if err != nil || refused == nil {
		return "", err
	}
	for _, d := range f.Devices {
		one, err := try([]string{d})
		if err != nil {
			return "", err
		}
		if one != nil {
			return fmt.Sprintf("device %s refuses it: %s", d, reason(one)), nil
		}
	}
	return reason(refused), nil
}

// reason returns nft's first complaint without the place in front.
func reason(e *Error) string {
	line := e.first()
	if _, text, ok := strings.Cut(line, ": Error: "); ok {
		return text
	}
	return line
}

// checkMark refuses a mark bit that rules use: those of the file, and those that stay beside it.
func checkMark(ctx context.Context, src Source, p program, bit uint32) error {
	r, err := preview(ctx, src, p)
	if err != nil {
		return &MarkError{Bit: bit, Reason: fmt.Sprintf("the rules cannot be checked for other uses: %v", err)}
	}
	return markError(r, bit)
}

func markError(r handover.Ruleset, bit uint32) error {
	conflicts := r.MarkConflicts(bit)
	if len(conflicts) == 0 {
		return nil
	}
	e := &MarkError{Bit: bit}
	for _, c := range conflicts {
		e.Rules = append(e.Rules, c.String())
	}
	return e
}
