package nft

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

func watching(t *testing.T, ns *testkit.NS, buffer int) (<-chan Event, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var events <-chan Event
	if err := ns.Do(func() (err error) {
		events, err = watch(ctx, buffer)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return events, cancel
}

func next(t *testing.T, events <-chan Event) Event {
	t.Helper()
	select {
	case e, ok := <-events:
		if !ok {
			t.Fatal("the channel is closed")
		}
		return e
	case <-time.After(5 * time.Second):
		t.Fatal("no event")
	}
	return Event{}
}

func TestWatch_Transactions_AreOneEventEach(t *testing.T) {
	ns := nsWith(t, "")
	events, cancel := watching(t, ns, watchBuffer)
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader("table ip a {\nchain c {\n" + strings.Repeat("counter accept\n", 5000) + "}\n}\ntable ip b {\n}\n")
	if err := ns.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	one := next(t, events)
	if one.Lost || one.Err != nil || one.Process != "nft" || int(one.PID) != cmd.Process.Pid {
		t.Errorf("got %+v, want process nft, pid %d", one, cmd.Process.Pid)
	}
	ns.Run("nft", "delete", "table", "ip", "a")
	if two := next(t, events); two.Generation != one.Generation+1 {
		t.Errorf("generation %d follows %d", two.Generation, one.Generation)
	}
	cancel()
	for e := range events {
		t.Errorf("event after the end: %+v", e)
	}
}

func TestWatch_FullBuffer_ReportsLossAndGoesOn(t *testing.T) {
	ns := nsWith(t, "")
	events, _ := watching(t, ns, 0) // the kernel's minimum
	const many = 20
	for range many / 2 { // nobody reads
		ns.Run("nft", "add", "table", "ip", "a")
		ns.Run("nft", "delete", "table", "ip", "a")
	}
	for e := next(t, events); !e.Lost; {
		e = next(t, events)
	}
	ns.Run("nft", "add", "table", "ip", "a")
	for {
		e := next(t, events)
		if e.Err != nil {
			t.Fatal(e.Err)
		}
		if e.Generation > many {
			return // the one after the loss
		}
	}
}

func TestWatch_OtherNamespace_IsNotReported(t *testing.T) {
	ns, other := nsWith(t, ""), nsWith(t, "")
	events, _ := watching(t, ns, watchBuffer)
	other.NFTables("table ip other { }\n")
	ns.NFTables("table ip mine { }\n")
	first := next(t, events)
	select {
	case e := <-events:
		t.Errorf("two events for one transaction: %+v and %+v", first, e)
	case <-time.After(50 * time.Millisecond): // nothing can announce that nothing comes
	}
}

// Until the queue has been empty the kernel drops more, and does not say so again.
func TestDrain_FullSocket_LeavesNothingAndHearsWhatComes(t *testing.T) {
	ns := nsWith(t, "")
	var conn *netlink.Conn
	if err := ns.Do(func() (err error) {
		if conn, err = netlink.Dial(unix.NETLINK_NETFILTER, nil); err != nil {
			return err
		}
		return subscribe(conn, 0)
	}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for range 10 { // nobody reads
		ns.Run("nft", "add", "table", "ip", "a")
		ns.Run("nft", "delete", "table", "ip", "a")
	}
	if err := drain(raw); err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		if _, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_DONTWAIT); !errors.Is(err, unix.EAGAIN) {
			t.Errorf("the socket is not empty: %v", err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	ns.Run("nft", "add", "table", "ip", "a")
	if batch, err := receive(conn); err != nil || len(batch) != 1 {
		t.Errorf("then %v, %v", batch, err)
	}
}
