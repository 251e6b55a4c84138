package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// crowd is how many connections are open at once, and how many messages each of them exchanges: more than a direction
// needs to become fast.
const (
	crowd    = 8
	messages = 8
)

// manyPort is where the server of the many listens.
const manyPort = 7000

// forgetful makes conntrack forget closed connections within a test's time.
func (b *bed) forgetful() {
	b.t.Helper()
	for _, state := range []string{"time_wait", "close", "close_wait", "last_ack", "fin_wait"} {
		b.r.Router.Sysctl("net/netfilter/nf_conntrack_tcp_timeout_"+state, "2")
	}
}

// crowd opens and closes n connections and returns what went wrong with which.
func (b *bed) crowd(n int, round uint64) map[int]error {
	b.t.Helper()
	at := netip.AddrPortFrom(b.r.S0.Addr(false), manyPort)
	var l net.Listener
	err := b.r.Server.Do(func() (err error) {
		l, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", at.String())
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() { serve(l, &served) })
	defer served.Wait()
	defer l.Close() //nolint:errcheck // it ends serve

	failed := map[int]error{}
	var mu sync.Mutex
	var g errgroup.Group
	for worker := range crowd {
		g.Go(func() error {
			// One thread in the namespace for all connections of a worker: the socket is made on it.
			return b.r.Client.Do(func() error {
				for i := worker; i < n; i += crowd {
					if err := visit(at, rand.New(randomOf(b.seed<<20^round<<16^uint64(i)))); err != nil {
						mu.Lock()
						failed[i] = err
						mu.Unlock()
					}
				}
				return nil
			})
		})
	}
	if err := g.Wait(); err != nil {
		b.t.Fatal(err)
	}
	return failed
}

// Ways to close a connection; the first message says which.
const (
	clientCloses = iota
	serverCloses
	clientResets
	serverResets
	waysToClose
)

// visit is one connection: messages and their echoes, then the end.
func visit(at netip.AddrPort, random *rand.Rand) error {
	nc, err := (&net.Dialer{Timeout: patience}).Dial("tcp", at.String())
	if err != nil {
		return err
	}
	defer nc.Close() //nolint:errcheck // closed below, in the way that is tested
	c := nc.(*net.TCPConn)
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	way := byte(random.IntN(waysToClose))
	for i := range messages {
		sent := make([]byte, smallest+random.IntN(largest/4))
		for i := range sent {
			sent[i] = byte(random.Uint32())
		}
		sent[0] = way
		if i == messages-1 {
			sent[0] |= last
		}
		if err := oneMessage(c, sent); err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
	}
	return leave(c, way)
}

// last marks the last message of a connection.
const last = 0x80

// oneMessage sends a length and that many bytes, and compares what comes back.
func oneMessage(c *net.TCPConn, sent []byte) error {
	if _, err := c.Write(append([]byte{byte(len(sent) >> 8), byte(len(sent))}, sent...)); err != nil {
		return err
	}
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != string(sent) {
		return errors.New("the echo is not what was sent")
	}
	return nil
}

// leave closes the client's end and sees that the server's end comes as it should.
func leave(c *net.TCPConn, way byte) error {
	switch way {
	case clientResets:
		return c.SetLinger(0) // and then closed
	case clientCloses:
		if err := c.CloseWrite(); err != nil {
			return err
		}
	case serverResets:
		// A reset does not wait for an echo that was lost on the way: the client says that it has it.
		if _, err := c.Write([]byte{0}); err != nil {
			return err
		}
	}
	_, err := c.Read(make([]byte, 1))
	if reset := way == serverResets; reset != errors.Is(err, unix.ECONNRESET) || !reset && !errors.Is(err, io.EOF) {
		return fmt.Errorf("at the end, closed in way %d: %w", way, err)
	}
	return nil
}

// serve answers until the listener is closed.
func serve(l net.Listener, served *sync.WaitGroup) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		served.Go(func() { host(c.(*net.TCPConn)) })
	}
}

// host is the server's end of one connection. What goes wrong here, the client sees.
func host(c *net.TCPConn) {
	defer c.Close() //nolint:errcheck // closed below, in the way that is tested
	if c.SetDeadline(time.Now().Add(patience)) != nil {
		return
	}
	for {
		var head [2]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		b := make([]byte, int(head[0])<<8|int(head[1]))
		if _, err := io.ReadFull(c, b); err != nil {
			return
		}
		if _, err := c.Write(b); err != nil {
			return
		}
		if b[0]&last == 0 {
			continue
		}
		switch b[0] &^ last {
		case serverCloses:
			return
		case serverResets:
			_, _ = c.Read(head[:1])
			_ = c.SetLinger(0)
			return
		default:
			_, _ = c.Read(head[:1])
			return
		}
	}
}
