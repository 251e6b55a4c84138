package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/api"
	"github.com/nft-offload/nft-offload/internal/conntrack"
	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/link"
)

// daemon runs until the environment's context ends. What it takes it gives back, in the opposite order: lock, kernel
// interfaces, datapath, socket.
func daemon(e *env, o *runOptions) (err error) {
	if err := prepareMachine(e.places); err != nil {
		return err
	}
	ns, err := namespace()
	if err != nil {
		return err
	}
	// Whoever reads the log may die before us. A broken pipe then is a failed write, and not the end: what is attached
	// would stay.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, unix.SIGPIPE)
	defer signal.Stop(broken)
	hold, err := acquire(e.places.lock(ns))
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, hold.release())
		e.places.tidy()
	}()
	lh, err := link.Open()
	if err != nil {
		return err
	}
	defer func() { _ = lh.Close() }()
	ct, err := conntrack.Open()
	if err != nil {
		return err
	}
	defer func() { _ = ct.Close() }()
	r := &runner{
		env: e, options: o, log: o.logger(e), namespace: ns, pins: e.places.pins(ns), socket: e.places.socket(ns),
		links: links{lh}, conntrack: connections{ct}, since: time.Now(),
	}
	return r.run()
}

// runner is one daemon.
type runner struct {
	env       *env
	options   *runOptions
	log       *slog.Logger
	namespace uint64
	pins      string
	socket    string
	links     links
	conntrack connections
	since     time.Time
}

// run opens the datapath, runs the engine on it, and withdraws it.
func (r *runner) run() (err error) {
	// All that can be refused is refused before anything is changed.
	var source engine.Source = nftSource{}
	var whole engine.Chains
	var watched *watchedRules
	if r.options.rules != rulesOff {
		watched = newWatchedRules()
		source, whole = watched, chains{r.env, watched}
	}
	v, err := engine.Read(r.env.ctx, source, r.links, whole)
	if r.env.ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := engine.Check(v, r.options.choices); err != nil {
		return err
	}
	fp, err := r.open(v.Mark(), watched)
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(r.env.ctx)
	defer end(nil)
	fp.end = end
	adopted := fp.d.Adopted()
	defer func() {
		close(fp.done)
		err = errors.Join(err, fp.leave(), r.leave(err, adopted))
	}()
	cfg := engine.Config{
		Source: source, Links: r.links, Datapath: fp, Operator: fp, Conntrack: r.conntrack, Candidates: fp.candidates,
		Choices: r.options.choices, Settings: r.options.settings(), Since: r.since, Log: r.log,
		Identity: engine.Identity{PID: os.Getpid(), Version: version(), Namespace: r.namespace, Adopted: adopted},
	}
	if fp.early != nil {
		cfg.Chains, cfg.Rules, cfg.Sets = whole, fp.early, sets{watched, fp.early.programs}
	}
	return r.serve(ctx, engine.New(cfg))
}

// leave withdraws, or does not: err is how the run ended.
func (r *runner) leave(err error, adopted bool) error {
	_, gone := errors.AsType[*pinsGoneError](err)
	// A run that failed leaves what an earlier one left as it was left.
	if r.options.keep && (err == nil || adopted) && !gone {
		r.log.Info("the datapath goes on under its leases", "pins", r.pins)
		return nil
	}
	r.log.Info("withdrawn")
	return datapath.Withdraw(r.pins)
}

// open opens the datapath. One that another version or other sizes left is withdrawn first.
func (r *runner) open(mark uint32, watched *watchedRules) (*fastPath, error) {
	cfg := datapath.Config{
		Dir: r.pins, MaxFlows: r.options.maxFlows, MinPackets: r.options.minPackets, Mark: mark,
		Due: r.options.lease / 2, Hard: r.options.lease,
	}
	pinned, err := r.adoptable()
	if err != nil {
		return nil, err
	}
	f, err := openFastPath(cfg, watched, r.log)
	if errors.Is(err, datapath.ErrIncompatible) {
		r.log.Warn("the pinned datapath cannot be adopted: starting anew", "cause", err)
		if err := datapath.Withdraw(r.pins); err != nil {
			return nil, fmt.Errorf("withdraw what cannot be adopted: %w", err)
		}
		f, err = openFastPath(cfg, watched, r.log)
	}
	if err != nil && !pinned {
		return nil, errors.Join(err, datapath.Withdraw(r.pins))
	}
	return f, err
}

// adoptable reports whether an earlier run left a datapath. One that is on no device any more may be of another network
// namespace, which had the number before: it is withdrawn.
func (r *runner) adoptable() (bool, error) {
	pinned, err := r.env.places.pinned(r.namespace)
	if err != nil || !pinned {
		return false, err
	}
	carries, err := r.env.places.carries(r.namespace)
	if err != nil || carries {
		return carries, err
	}
	if err := datapath.Withdraw(r.pins); err != nil {
		return false, fmt.Errorf("withdraw what is on no device any more: %w", err)
	}
	return false, nil
}

// serve runs the engine, and answers on the socket as soon as the devices are attached. A context that ends with a cause
// of ours ends the run with it.
func (r *runner) serve(ended context.Context, e *engine.Engine) error {
	ctx, cancel := context.WithCancel(ended)
	defer cancel()
	served := make(chan error, 1)
	go func() {
		served <- r.answer(ctx, e)
		cancel() // without the socket nobody could stop or ask it
	}()
	err := e.Run(ctx)
	cancel()
	if gone, ok := errors.AsType[*pinsGoneError](context.Cause(ended)); ok {
		err = errors.Join(gone, err)
	}
	return errors.Join(err, <-served)
}

func (r *runner) answer(ctx context.Context, e *engine.Engine) error {
	select {
	case <-ctx.Done():
		return nil
	case <-e.Ready():
	}
	s, err := api.Listen(r.socket, e)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	r.log.Info("running", "pid", os.Getpid(), "socket", r.socket, "settings", r.options.String())
	err = s.Serve()
	if ctx.Err() != nil {
		return nil
	}
	return err
}
