package soak

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// tcpTalk is a client that sends a message, waits for its echo, compares, and sends the next.
type tcpTalk struct {
	verdict
	name    string
	pair    *testkit.TCPPair
	random  *rand.ChaCha8 // the client's; sizes and bytes of its messages
	done    atomic.Uint64
	damaged atomic.Int64
	turn    sync.Mutex // held while a message is on its way, and while the talk is hushed
	stop    chan struct{}
	end     sync.WaitGroup
}

// Messages of a TCP talk: several packets or one, with a rest between that keeps many talks cheap.
const (
	smallest = 100
	largest  = 6000
	rest     = 20 * time.Millisecond
)

func startTCP(name string, pair *testkit.TCPPair, seed uint64) *tcpTalk {
	c := &tcpTalk{name: name, pair: pair, random: randomOf(seed), stop: make(chan struct{})}
	c.end.Go(c.echo)
	c.end.Go(c.ask)
	return c
}

func (c *tcpTalk) label() string { return c.name }

func (c *tcpTalk) rounds() uint64 { return c.done.Load() }

func (c *tcpTalk) harm() harm { return harm{Damaged: int(c.damaged.Load())} }

// echo is the server.
func (c *tcpTalk) echo() {
	b := make([]byte, largest)
	for {
		n, err := c.pair.Server.Read(b)
		if err == nil {
			_, err = c.pair.Server.Write(b[:n])
		}
		if err != nil {
			switch {
			case errors.Is(err, io.EOF):
				_ = c.pair.Server.CloseWrite() // the client waits for it and says when it did not come
			case !errors.Is(err, net.ErrClosed):
				c.giveUp(fmt.Errorf("server: %w", err))
			}
			return
		}
	}
}

func (c *tcpTalk) ask() {
	tick := time.NewTicker(rest)
	defer tick.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-tick.C:
		}
		c.turn.Lock()
		select {
		case <-c.stop: // while it was hushed
			c.turn.Unlock()
			return
		default:
		}
		err := c.message()
		c.turn.Unlock()
		if err != nil {
			c.giveUp(err)
			return
		}
		c.done.Add(1)
	}
}

// message sends one and compares what comes back.
func (c *tcpTalk) message() error {
	sent := make([]byte, smallest+c.random.Uint64()%(largest-smallest))
	_, _ = c.random.Read(sent) // documented never to fail
	if err := c.pair.Client.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := c.pair.Client.Write(sent); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	return c.expect(sent)
}

func (c *tcpTalk) expect(sent []byte) error {
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c.pair.Client, got); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	if !bytes.Equal(sent, got) {
		c.damaged.Add(1)
		return errors.New("the echo is not what was sent")
	}
	return nil
}

// hush ends the conversation for a while: when it returns, no packet of it is on its way, and none will be.
func (c *tcpTalk) hush() {
	c.turn.Lock()
	err := testkit.Await(patience, func() error {
		for _, end := range []*net.TCPConn{c.pair.Client, c.pair.Server} {
			info, err := testkit.Info(end)
			if err != nil {
				return err
			}
			if info.Unacked > 0 || info.Notsent_bytes > 0 {
				return fmt.Errorf("%d segments are not acknowledged", info.Unacked)
			}
		}
		return nil
	})
	if err != nil && c.lost() == nil {
		c.giveUp(fmt.Errorf("hush: %w", err))
	}
}

// resume is the end of hush; the client speaks first.
func (c *tcpTalk) resume() { c.turn.Unlock() }

// speakUp lets the server of a hushed talk speak first.
func (c *tcpTalk) speakUp() {
	sent := make([]byte, smallest)
	_, _ = c.random.Read(sent)
	deadline := time.Now().Add(patience)
	err := errors.Join(c.pair.Client.SetDeadline(deadline), c.pair.Server.SetWriteDeadline(deadline))
	if err == nil {
		_, err = c.pair.Server.Write(sent)
	}
	if err == nil {
		err = c.expect(sent)
	}
	if err != nil {
		c.giveUp(fmt.Errorf("when the server spoke first: %w", err))
	}
}

func (c *tcpTalk) giveUp(why error) {
	c.verdict.giveUp(why)
	c.pair.Abort()
}

// finish closes with FIN in both directions.
func (c *tcpTalk) finish() {
	close(c.stop)
	if c.lost() == nil {
		c.turn.Lock() // the last message
		err := c.pair.Client.SetDeadline(time.Now().Add(patience))
		if err == nil {
			err = c.pair.Client.CloseWrite()
		}
		if err == nil {
			// The server reads the end and answers with its own.
			_, err = c.pair.Client.Read(make([]byte, 1))
		}
		c.turn.Unlock()
		if !errors.Is(err, io.EOF) {
			c.giveUp(fmt.Errorf("close: %w", err))
		}
	}
	c.pair.Abort()
	c.end.Wait()
}
