package engine

import (
	"context"
	"slices"
	"time"

	"github.com/nft-offload/nft-offload/internal/packet"
)

// Conntrack's view of the sequence numbers is frozen while packets go round it. A RST between 2 and 4 GiB past it
// would be invalid; what would make it so is cleared each time a connection has moved this much, both directions
// together, which leaves a second of the fastest link as reserve.
const clearEvery = 1 << 30

// candidateBatch bounds how many connections are prepared with one message.
const candidateBatch = 256

// care decides, from one sweep to the next, what each TCP connection needs.
type care struct {
	idle  time.Duration // a connection that is silent for so long in both directions is idle
	pass  uint32
	conns map[uint64]*connCare // by the address of the conntrack entry
}

// connCare is what is remembered of one connection.
type connCare struct {
	tuples   [2]packet.Tuple // the directions seen; the second may be missing
	pass     uint32          // in which it was seen last
	idle     time.Duration   // of the less idle direction
	bytes    uint64          // both directions, in this pass
	cleared  uint64          // bytes when its flags were cleared last
	carried  bool            // the fast path has carried packets of it
	restored bool            // in this idle period
	dead     bool            // an entry of it is dead, in this pass
	ended    bool            // and that was taken care of
}

// tasks are what a sweep found to do.
type tasks struct {
	liberal []packet.Tuple
	restore []idleConn
}

type idleConn struct {
	conn packet.Tuple
	idle time.Duration
}

func newCare(idle time.Duration) *care {
	return &care{idle: idle, conns: map[uint64]*connCare{}}
}

// sweep takes what lives and returns what is to be done now.
func (c *care) sweep(live []Activity) tasks {
	c.pass++
	for _, a := range live {
		if a.Tuple.Proto == packet.TCP && a.Conntrack != 0 {
			c.see(a)
		}
	}
	var t tasks
	for id, k := range c.conns {
		if k.pass != c.pass {
			delete(c.conns, id)
			continue
		}
		k.due(c.idle, &t)
	}
	return t
}

func (c *care) see(a Activity) {
	k := c.conns[a.Conntrack]
	if k == nil || !k.has(a.Tuple) {
		// Unknown, or the address was used again for another connection.
		k = &connCare{tuples: [2]packet.Tuple{a.Tuple}}
		c.conns[a.Conntrack] = k
	}
	if k.pass != c.pass {
		k.pass, k.idle, k.bytes, k.dead = c.pass, a.Idle, 0, false
	}
	k.idle = min(k.idle, a.Idle)
	k.bytes += a.Bytes
	k.dead = k.dead || a.Dead
}

// has reports whether the tuple is one of the connection's, and remembers the second one.
func (k *connCare) has(t packet.Tuple) bool {
	if k.tuples[0] == t || k.tuples[1] == t {
		return true
	}
	if k.tuples[1] != (packet.Tuple{}) {
		return false
	}
	k.tuples[1] = t
	return true
}

func (k *connCare) due(limit time.Duration, t *tasks) {
	if k.bytes < k.cleared {
		k.cleared = 0 // its entries were made anew
	}
	k.ended = k.ended && k.dead
	switch {
	case k.dead && !k.ended:
		// FIN or RST passed: the flags must not outlive what they were set for.
		k.ended = true
		k.clear(t)
	case k.dead:
	case k.bytes > 0 && !k.carried, k.bytes-k.cleared > clearEvery:
		// The first time: packets that conntrack saw until the connection became fast may have set them again.
		k.carried = true
		k.clear(t)
	}
	if k.idle <= limit {
		k.restored = false
		return
	}
	if k.carried && !k.dead && !k.restored {
		k.restored = true
		t.restore = append(t.restore, idleConn{k.tuples[0], k.idle})
	}
}

func (k *connCare) clear(t *tasks) {
	k.cleared = k.bytes
	t.liberal = append(t.liberal, k.tuples[0])
}

// again takes back tasks that nobody had time for; the next sweep finds them again.
func (c *care) again(t tasks) {
	skipped := make(map[packet.Tuple]bool, len(t.liberal)+len(t.restore))
	for _, conn := range t.liberal {
		skipped[conn] = true
	}
	for _, i := range t.restore {
		skipped[i.conn] = true
	}
	for _, k := range c.conns {
		if skipped[k.tuples[0]] {
			k.carried, k.ended, k.restored = false, false, false
		}
	}
}

// careWorkers talk to conntrack so that nobody waits for it: candidates in one goroutine, since a connection is slow
// until they are served, and what sweeps find in another.
func careWorkers(ctx context.Context, ct Conntrack, candidates <-chan packet.Tuple, work <-chan tasks, log func(string, error)) []func() {
	return []func(){
		func() {
			for {
				batch := gather(ctx, candidates)
				if batch == nil {
					return
				}
				if err := ct.SetLiberal(batch); err != nil {
					log("prepare tcp connections", err)
				}
			}
		},
		func() {
			for {
				select {
				case <-ctx.Done():
					return
				case t := <-work:
					t.do(ctx, ct, log)
				}
			}
		},
	}
}

func (t tasks) do(ctx context.Context, ct Conntrack, log func(string, error)) {
	for batch := range slices.Chunk(t.liberal, candidateBatch) {
		if err := ct.SetLiberal(batch); err != nil {
			log("clear flags of tcp connections", err)
		}
	}
	for _, i := range t.restore {
		if ctx.Err() != nil {
			return
		}
		if err := ct.RestoreTimeout(i.conn, i.idle); err != nil {
			log("restore timeout of an idle tcp connection", err)
		}
	}
}

// gather waits for a candidate and takes what waits behind it. nil: there will be no more.
func gather(ctx context.Context, candidates <-chan packet.Tuple) []packet.Tuple {
	var batch []packet.Tuple
	select {
	case <-ctx.Done():
		return nil
	case t, ok := <-candidates:
		if !ok {
			return nil
		}
		batch = append(batch, t)
	}
	for len(batch) < candidateBatch {
		select {
		case t, ok := <-candidates:
			if !ok {
				return batch
			}
			batch = append(batch, t)
		default:
			return batch
		}
	}
	return batch
}
