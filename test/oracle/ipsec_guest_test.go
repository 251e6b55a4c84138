//go:build guest

package oracle

import (
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/datapath"
	"github.com/nft-offload/nft-offload/internal/reason"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// A flow that arrives in an IPsec tunnel stays slow: in the clear, the same packet must not be forwarded.
func TestFlowOutOfIPsecStaysSlow(t *testing.T) {
	b := makeBox(t, setup{hook: datapath.HookTC, hosts: true, cfg: datapath.Config{MaxFlows: 256}})
	const key = "aead rfc4106(gcm(aes)) 0x0102030405060708090a0b0c0d0e0f1011121314 128 mode tunnel"
	states := `
ip xfrm state add src 10.0.1.2 dst 10.0.1.1 proto esp spi 0x100 ` + key + `
ip xfrm state add src 10.0.1.1 dst 10.0.1.2 proto esp spi 0x101 ` + key + `
`
	const there = " src 10.0.1.2 dst 198.51.100.2 "
	const back = " src 198.51.100.2 dst 10.0.1.2 "
	const up, down = " tmpl src 10.0.1.2 dst 10.0.1.1 proto esp mode tunnel", " tmpl src 10.0.1.1 dst 10.0.1.2 proto esp mode tunnel"
	b.r.Client.Script(states + "ip xfrm policy add" + there + "dir out" + up + "\nip xfrm policy add" + back + "dir in" + down + "\n")
	b.r.Router.Script(states + "ip xfrm policy add" + there + "dir fwd" + up + "\nip xfrm policy add" + back + "dir out" + down + "\n")
	udp := testkit.OpenUDP(t, b.r.Path(false, 5001), testkit.UDPOptions{})
	if err := udp.Exchange(50, 100, 3*time.Second).Whole(); err != nil {
		t.Fatal(err)
	}
	b.expect(reason.SeenIPsec, 0)
	if b.fast() != 0 {
		t.Errorf("%d packets were fast: %s", b.fast(), b.reasons())
	}
}
