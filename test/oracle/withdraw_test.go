package oracle

import (
	"errors"
	"os"
	"runtime"
	"time"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// restoreLimit is how long the kernel may take to free what is withdrawn. Emulated, RCU grace periods take seconds.
const restoreLimit = 30 * time.Second

// checkRestored makes every test check, at its end, that the box's namespaces and its directory are as they were before
// the datapath came. Nothing of the machine outside of them is looked at: other tests run beside this one.
func (b *box) checkRestored(dir string) {
	b.t.Helper()
	var err error
	none := func(string) bool { return false } // whose ids the box holds is withdraw's to check
	b.before, err = testkit.Snapshot(testkit.SnapshotOptions{BPF: none, Dirs: []string{dir}}, b.r.Client, b.r.Router, b.r.Server)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if err := b.before.AwaitRestored(restoreLimit); err != nil {
			b.t.Errorf("withdraw: %v", err)
		}
	})
}

// own begins a change that the test makes in the namespaces, and that withdraw is not to undo; the result ends it.
func (b *box) own() (done func()) {
	b.t.Helper()
	if b.hook == 0 {
		return func() {}
	}
	before, err := b.before.Again()
	if err != nil {
		b.t.Fatal(err)
	}
	return func() {
		b.t.Helper()
		after, err := b.before.Again()
		if err != nil {
			b.t.Fatal(err)
		}
		b.before.Adopt(before, after)
	}
}

// withdraw takes the datapath away, and checks that the kernel has none of its objects any more.
func (b *box) withdraw(dir string) {
	held, err := testkit.Holding(dir, b.r.Router)
	if err != nil {
		b.t.Error(err)
	}
	err = b.r.Router.Do(func() error { return datapath.Withdraw(dir) })
	if err := errors.Join(err, b.d.Close()); err != nil {
		b.t.Error(err)
	}
	runtime.GC() // cilium/ebpf maps .rodata into this process, and leaves the unmapping to the garbage collector
	if err := held.AwaitGone(restoreLimit); err != nil {
		b.t.Errorf("withdraw of %s: %v", held, err)
	}
	_ = os.Remove(pinRoot) // the last one takes the directory with it
}
