package why

import (
	"fmt"
	"strings"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/handover"
	"github.com/nft-offload/nft-offload/internal/packet"
)

// Connection is a conntrack entry.
type Connection struct {
	Orig  packet.Tuple `json:"-"`
	Reply packet.Tuple `json:"-"`
	Zone  uint16       `json:"zone,omitempty"`
	// State is that of TCP, as conntrack(8) prints it; empty for other protocols, and where the kernel does not say
	// because the flow is in its flowtable.
	State  string          `json:"tcp_state,omitempty"`
	Status []string        `json:"status"` // the names of the bits that are set
	Bits   Bits            `json:"-"`
	Helper string          `json:"helper,omitempty"`
	Mark   uint32          `json:"mark,omitempty"`
	Labels handover.Labels `json:"labels"`
	// Liberal says that packets out of the window are accepted in both directions.
	Liberal bool `json:"liberal,omitempty"`
	// Timeout is not known while the flow is in the kernel's flowtable.
	Timeout    time.Duration `json:"-"`
	HasTimeout bool          `json:"-"`
	// Packets and bytes of both directions, where nf_conntrack_acct counts them.
	Counts [2]engine.Counter `json:"-"`
}

// Bits are those of the status that the stages depend on (enum ip_conntrack_status).
type Bits struct {
	SeenReply, Assured, Confirmed, Dying, SeqAdjust, NATClash, Offload, HWOffload bool
}

// nat reports whether the connection is translated.
func (c Connection) nat() bool { return c.Reply != c.Orig.Reverse() }

// name renders the connection as its first packet arrives.
func name(t packet.Tuple) string {
	if t.Src.Port() == 0 && t.Dst.Port() == 0 {
		return fmt.Sprintf("%s %s > %s", protoName(t.Proto), t.Src.Addr(), t.Dst.Addr())
	}
	return fmt.Sprintf("%s %s > %s", protoName(t.Proto), t.Src, t.Dst)
}

// text is the connection's line of evidence.
func (c Connection) text() string {
	var parts []string
	if c.State != "" {
		parts = append(parts, c.State)
	}
	parts = append(parts, strings.Join(c.Status, ","))
	if c.Liberal {
		parts = append(parts, "liberal")
	}
	if c.Mark != 0 {
		parts = append(parts, fmt.Sprintf("mark %#x", c.Mark))
	}
	if !c.Labels.Empty() {
		parts = append(parts, "labels "+c.Labels.String())
	}
	if c.Helper != "" {
		parts = append(parts, "helper "+c.Helper)
	}
	if c.Zone != 0 {
		parts = append(parts, fmt.Sprintf("zone %d", c.Zone))
	}
	if c.HasTimeout {
		parts = append(parts, fmt.Sprintf("%s left", c.Timeout))
	} else {
		parts = append(parts, "no timeout shown")
	}
	return strings.Join(parts, "; ")
}
