package tc

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// The probe's place: a preference of the range that carries our mark (those of package link), and a handle.
const (
	probePref   = "49014"
	probeHandle = "0x1"
)

// Answer is what a driver said to a rule.
type Answer struct {
	Command string // what it was asked
	InHW    bool   // the rule was in hardware
	Refused *Error // its words when it refused; nil when it took the rule
	// Left says what could not be removed afterwards; nil when nothing is left.
	Left error
}

// Probe asks the driver of a device in this thread's network namespace to drop, in hardware only, what goes from one
// documentation address to another (RFC 5737), which no real packet does, and takes the rule back at once. A clsact
// qdisc is added where there is none, and removed when nobody else has put anything there meanwhile.
func Probe(ctx context.Context, device string) (Answer, error) {
	fail := func(err error) (Answer, error) { return Answer{}, fmt.Errorf("probe %s: %w", device, err) }
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	// What was begun is ended: a rule of ours would stay behind.
	ctx = context.WithoutCancel(ctx)
	own, err := hook(ctx, device)
	if err != nil {
		return fail(err)
	}
	a, err := ask(ctx, device)
	if own {
		a.Left = errors.Join(a.Left, unhook(ctx, device))
	}
	if err != nil {
		return fail(errors.Join(err, a.Left))
	}
	return a, nil
}

// hook makes sure that a device has an ingress hook, and reports whether it is ours.
func hook(ctx context.Context, device string) (own bool, err error) {
	list, err := run(ctx, "qdisc", "show", "dev", device)
	if err != nil {
		return false, err
	}
	if strings.Contains(list, "qdisc clsact ") || strings.Contains(list, "qdisc ingress ") {
		return false, nil
	}
	_, err = run(ctx, "qdisc", "add", "dev", device, "clsact")
	return err == nil, err
}

// unhook removes the qdisc unless there is a filter of somebody else.
func unhook(ctx context.Context, device string) error {
	for _, side := range []string{"ingress", "egress"} {
		list, err := run(ctx, "filter", "show", "dev", device, side)
		if err != nil {
			return err
		}
		if strings.TrimSpace(list) != "" {
			return fmt.Errorf("the clsact qdisc stays: somebody has put a filter on %s meanwhile", device)
		}
	}
	_, err := run(ctx, "qdisc", "del", "dev", device, "clsact")
	return err
}

func ask(ctx context.Context, device string) (Answer, error) {
	at := []string{"dev", device, "ingress", "protocol", "ip", "pref", probePref}
	show := func() (string, error) { return run(ctx, "filter", "show", "dev", device, "ingress", "pref", probePref) }
	before, err := show()
	if err != nil {
		return Answer{}, err
	}
	if strings.TrimSpace(before) != "" {
		return Answer{}, fmt.Errorf("preference %s is in use", probePref)
	}
	add := append(append([]string{"filter", "add"}, at...), "handle", probeHandle, "flower", "skip_sw",
		"src_ip", "192.0.2.1", "dst_ip", "192.0.2.2", "action", "drop")
	a := Answer{Command: Command(add...)}
	if _, err := run(ctx, add...); err != nil {
		if errors.As(err, &a.Refused) {
			return a, nil
		}
		return Answer{}, err
	}
	after, err := show()
	a.InHW = strings.Contains(after, "in_hw") && !strings.Contains(after, "not_in_hw")
	_, gone := run(ctx, append(append([]string{"filter", "del"}, at...), "handle", probeHandle, "flower")...)
	a.Left = gone
	return a, err
}
