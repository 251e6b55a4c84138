package nft

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// inScratch runs f in a network namespace of its own, which has nothing but a loopback device and goes away with f.
// The caller's thread is not touched: f runs on a thread that ends with it.
func inScratch(f func() error) error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the runtime ends the thread, and the namespace with it.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("make scratch network namespace: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// flowtableProbe needs nf_flow_table (with its inet family) and nft_flow_offload.
const flowtableProbe = `table inet probe {
	flowtable f { hook ingress priority 0; devices = { lo }; }
	chain c {
		type filter hook forward priority 0;
		flow add @f
	}
}
`

// HasFlowtables reports whether the running kernel has nftables flowtables. It tries one in a scratch namespace, so
// that nothing but the modules that the kernel loads on demand stays behind. The error is for a probe that could not
// be made; a kernel without flowtables is no error.
func HasFlowtables(ctx context.Context) (bool, error) {
	err := inScratch(func() error {
		_, err := run(ctx, "probe", "", flowtableProbe, "-f", "-")
		return err
	})
	if _, ok := errors.AsType[*Error](err); ok {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("probe for flowtables: %w", err)
	}
	return true, nil
}
