package soak

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// vanishes removes the router's network namespace: first its name, with processes in it, then what runs in it.
func vanishes() row {
	return row{
		name:   "network namespace removed",
		plan:   plan{each: 3},
		script: vanish,
		short:  form{times: 1, pairs: 2},
		full:   form{times: 1, pairs: 4},
		what:   "`ip netns del` while daemon and other processes run inside, traffic, and then the processes end, in half of the pairs with `kill -9`.",
		lost:   "all, with the last process in the namespace: the kernel removes the router's devices then",
		proves: "all go on while the namespace lives; a stopped daemon leaves nothing; what a killed one leaves is removed by withdraw in any other namespace",
	}
}

func vanish(b *bed, _ int) {
	b.tally()
	end := b.occupy()
	if err := b.r.Router.Remove(); err != nil {
		b.t.Fatal(err)
	}
	b.talkOn(5)
	killed := (b.pair+b.pair/2)%2 == 1 // at both hooks
	var left objects
	if b.d != nil {
		b.carried()
		b.tally()
		left = b.objects()
		if killed {
			b.d.Kill9()
		} else if err := b.d.Stop(); err != nil {
			b.t.Error(err)
		}
	}
	b.talkOn(2)
	end()
	testkit.MustAwait(b.t, settle, func() error {
		_, err := b.r.Client.Ifindex(b.r.C0.Name)
		return errUnless(err != nil, "the other ends of the router's devices are still there")
	})
	b.silenced()
	if b.d == nil {
		return
	}
	if killed {
		out, err := daemon.Command(b.t, b.r.Client, "withdraw")
		if err != nil || !strings.Contains(out, "which is gone") {
			b.t.Errorf("withdraw: %v: %s", err, out)
		}
	}
	b.nothingLeft(b.d.Pins(), left)
	for _, file := range []string{".lock", ".sock"} {
		if _, err := os.Stat(b.d.State() + file); !errors.Is(err, os.ErrNotExist) {
			b.t.Errorf("%s is left (%v)", b.d.State()+file, err)
		}
	}
}

// occupy starts a process that keeps the namespace alive, as whatever else runs on a router does.
func (b *bed) occupy() (end func()) {
	b.t.Helper()
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.r.Router.Start(cmd); err != nil {
		b.t.Fatal(err)
	}
	end = func() { _ = errors.Join(in.Close(), cmd.Wait()) }
	b.t.Cleanup(end)
	return end
}

// silenced gives up the talks that have nothing to go over any more, and checks that this is all of them.
func (b *bed) silenced() {
	b.t.Helper()
	const quiet = time.Second
	before := map[talk]uint64{}
	begin := time.Now()
	for _, c := range b.talks {
		before[c] = c.rounds()
	}
	testkit.MustAwait(b.t, patience, func() error {
		for c, n := range before {
			if got := c.rounds(); got != n {
				before[c], begin = got, time.Now()
			}
		}
		return errUnless(time.Since(begin) > quiet, "some talk has gone on")
	})
	for _, c := range b.talks {
		c.giveUp(errors.New("the router is gone"))
	}
}
