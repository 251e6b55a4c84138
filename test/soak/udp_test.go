package soak

import (
	"sync"
	"time"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// udpTalk is a flow of numbered datagrams that come back.
type udpTalk struct {
	verdict
	name string
	port uint16
	flow *testkit.UDPFlow
	stop sync.Once
}

// datagrams is how many a UDP talk sends a second.
const datagrams = 100

func startUDP(name string, port uint16, flow *testkit.UDPFlow) *udpTalk {
	flow.Start(datagrams)
	return &udpTalk{name: name, port: port, flow: flow}
}

func (c *udpTalk) label() string { return c.name }

func (c *udpTalk) rounds() uint64 { return c.flow.Stats().Down.Received }

// lateEcho is how long the last echoes may take.
const lateEcho = time.Second

func (c *udpTalk) finish() {
	c.stop.Do(func() { c.flow.Stop(lateEcho) })
}

func (c *udpTalk) harm() harm {
	s := c.flow.Stats()
	return harm{
		Damaged: int(s.Up.Corrupt + s.Up.Duplicated + s.Down.Corrupt + s.Down.Duplicated),
		Missing: int(s.Sent - s.Down.Received),
	}
}
