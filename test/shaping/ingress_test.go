package shaping

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/engine"
	"github.com/nft-offload/nft-offload/internal/testkit"
	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
)

// throughIFB shapes what arrives at r1: the download of a client, as SQM scripts do it.
const throughIFB = `qdisc add dev ifb0 root tbf rate 10mbit burst 20kb latency 50ms
qdisc add dev r1 handle ffff: ingress
filter add dev r1 parent ffff: protocol all pref 10 u32 match u32 0 0 action mirred egress redirect dev ifb0
`

// TestIngressShaperIsNeverBypassed: a filter that redirects arriving packets to an ifb device, there before the daemon
// or put there under a running flow, keeps the device off the fast path, is named, and sees every packet.
func TestIngressShaperIsNeverBypassed(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(map[bool]string{false: "before", true: "under a flow"}[late], func(t *testing.T) {
			r := shaped(t, options{})
			r.Router.Run("ip", "link", "add", "ifb0", "type", "ifb")
			r.Router.Run("ip", "link", "set", "ifb0", "up")
			if !late {
				script(t, r, throughIFB)
			}
			d := daemon.Start(t, r.Router) // a device asked for by name would have to work
			udp := testkit.OpenUDP(t, r.Path(false, bulkPort), testkit.UDPOptions{Size: 200})
			if late {
				settled(t, d, udp)
				script(t, r, throughIFB)
			}
			testkit.MustAwait(t, 5*time.Second, func() error { return refused(d, r.R1.Name, "foreign-tc-filter", "u32 (mirred redirect to ifb0)") })
			testkit.MustAwait(t, time.Second, notBefore(time.Now().Add(inForce)))
			before, passed := d.Status(), root(t, r.Router, "ifb0")
			if err := udp.Exchange(500, 1000, time.Second).Whole(); err != nil {
				t.Error(err)
			}
			if fast := d.Status().Stats.FastPackets().Packets - before.Stats.FastPackets().Packets; fast > 0 {
				t.Errorf("%d packets were fast: %+v", fast, d.Status())
			}
			if got := root(t, r.Router, "ifb0").since(passed).Packets; got < 500 || got > 500+others {
				t.Errorf("%d of 500 packets went through the shaper of ifb0", got)
			}
			flowsRefused(t, r, udp)
		})
	}
}

// flowsRefused keeps the flow busy until both its directions are listed, with what is in the way.
func flowsRefused(t *testing.T, r *testkit.Router, udp *testkit.UDPFlow) {
	t.Helper()
	var flows []engine.Refused
	testkit.MustAwait(t, 10*time.Second, func() error {
		if err := udp.Exchange(20, 500, time.Second).Whole(); err != nil {
			return err
		}
		out, err := daemon.Command(t, r.Router, "flows", "--refused", "--json", "--port", fmt.Sprint(bulkPort))
		if err != nil {
			return fmt.Errorf("flows --refused: %w: %s", err, out)
		}
		if err := json.Unmarshal([]byte(out), &flows); err != nil {
			return err
		}
		if len(flows) != 2 {
			return fmt.Errorf("flows --refused: %s", out)
		}
		return nil
	})
	for _, f := range flows {
		if len(f.Causes) != 1 || f.Causes[0].Device != "r1" || !strings.Contains(f.Text, "mirred redirect to ifb0") {
			t.Errorf("flows --refused: %+v", f)
		}
	}
}

// refused returns nil when the device is kept off the fast path, and the reason names what stands there.
func refused(d *daemon.Daemon, device, code, object string) error {
	for _, dev := range d.Status().Devices {
		if dev.Name == device && dev.Hook == engine.Off && dev.Reason.Code.Code() == code && strings.Contains(dev.Reason.Text, object) {
			return nil
		}
	}
	return fmt.Errorf("%s is not refused: %+v", device, d.Status().Devices)
}
