package testkit_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// masquerade is the ruleset of a small router: everything that leaves by r1 takes its address, port 8080 of r1 goes
// to port 80 of the client.
const masquerade = `
table inet router {
	chain post {
		type nat hook postrouting priority srcnat
		oifname r1 masquerade
	}
	chain pre {
		type nat hook prerouting priority dstnat
		iifname r1 tcp dport 8080 dnat ip to 10.0.1.2:80
		iifname r1 tcp dport 8080 dnat ip6 to [2001:db8:1::2]:80
	}
}`

func connect(t *testing.T, p testkit.Path, mss int) *testkit.TCPPair {
	t.Helper()
	pair, err := testkit.ConnectTCP(t, p, mss)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func TestTCPTransferBothWaysArrivesWhole(t *testing.T) {
	r := testkit.NewRouter(t, testkit.RouterOptions{})
	families(t, func(t *testing.T, six bool) {
		pair := connect(t, r.Path(six, 5001), 0)
		for range 2 { // the connection stays usable
			got, err := pair.Transfer(testkit.Load{Up: 20<<20 + 7, Down: 5<<20 + 1})
			if err != nil {
				t.Fatal(err)
			}
			if got.Up != 20<<20+7 || got.Down != 5<<20+1 || got.Duration <= 0 {
				t.Errorf("got %+v", got)
			}
		}
		if pair.Seen != pair.Local() {
			t.Errorf("server saw %v without NAT, client is %v", pair.Seen, pair.Local())
		}
		if err := pair.Finish(wait); err != nil {
			t.Error(err)
		}
	})
}

func TestTCPPacedTransferKeepsItsRateInSmallPackets(t *testing.T) {
	r := testkit.NewRouter(t, testkit.RouterOptions{NoChecksumOffload: true})
	pair := connect(t, r.Path(false, 5001), 0)
	const packets, rate, size = 1000, 2000, 64
	got, err := pair.Transfer(testkit.Load{Up: packets * size, Rate: rate, Size: size})
	if err != nil {
		t.Fatal(err)
	}
	const ideal = packets * time.Second / rate
	if got.Duration < ideal*9/10 {
		t.Errorf("took %v, faster than the pace (%v)", got.Duration, ideal)
	}
	info, err := testkit.Info(pair.Client)
	if err != nil {
		t.Fatal(err)
	}
	if info.Data_segs_out < packets*9/10 {
		t.Errorf("%d writes left as %d segments", packets, info.Data_segs_out)
	}
}

func TestTCPSegmentClampLimitsThePayload(t *testing.T) {
	r := testkit.NewRouter(t, testkit.RouterOptions{})
	families(t, func(t *testing.T, six bool) {
		const mss = 536
		pair := connect(t, r.Path(six, 5001), mss)
		for _, c := range []*net.TCPConn{pair.Client, pair.Server} {
			info, err := testkit.Info(c)
			if err != nil {
				t.Fatal(err)
			}
			if info.Snd_mss > mss {
				t.Errorf("segments of %d bytes, want at most %d", info.Snd_mss, mss)
			}
		}
	})
}

func TestTCPTransferThatCannotArriveEndsAtItsTimeout(t *testing.T) {
	testkit.Need(t, testkit.NFT)
	r := testkit.NewRouter(t, testkit.RouterOptions{})
	pair := connect(t, r.Path(false, 5001), 0)
	r.Router.NFTables("table ip t { chain f { type filter hook forward priority 0; policy drop; }; }")
	begin := time.Now()
	got, err := pair.Transfer(testkit.Load{Up: 1000, Timeout: 300 * time.Millisecond})
	if err == nil {
		t.Errorf("a transfer through a drop rule worked: %+v", got)
	}
	if took := time.Since(begin); took > wait {
		t.Errorf("took %v", took)
	}
}

func TestTCPPairThroughNATIsSeenFromTheRouter(t *testing.T) {
	r := testkit.NewRouter(t, testkit.RouterOptions{})
	r.Router.NFTables(masquerade)
	families(t, func(t *testing.T, six bool) {
		out := connect(t, r.Path(six, 5001), 0)
		if out.Seen.Addr() != r.R1.Addr(six) {
			t.Errorf("masqueraded peer seen as %v, want %v", out.Seen, r.R1.Addr(six))
		}
		in := connect(t, r.Forwarded(six, 8080, 80), 0)
		if in.Seen.Addr() != r.S0.Addr(six) {
			t.Errorf("forwarded peer seen as %v, want %v", in.Seen, r.S0.Addr(six))
		}
		for _, p := range []*testkit.TCPPair{out, in} {
			if err := p.Exchange(100_000, wait); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestTCPEndsOfAConnectionAreNoticedAtTheOtherEnd(t *testing.T) {
	r := testkit.NewRouter(t, testkit.RouterOptions{})
	families(t, func(t *testing.T, six bool) {
		for name, end := range map[string]func(*testkit.TCPPair) error{
			"half close then data back": func(p *testkit.TCPPair) error {
				if err := p.HalfClose(p.Client, wait); err != nil {
					return err
				}
				_, err := p.Transfer(testkit.Load{Down: 10_000})
				return err
			},
			"reset by client": func(p *testkit.TCPPair) error { return p.Reset(p.Client, wait) },
			"reset by server": func(p *testkit.TCPPair) error { return p.Reset(p.Server, wait) },
			"finish":          func(p *testkit.TCPPair) error { return p.Finish(wait) },
		} {
			pair := connect(t, r.Path(six, 5001), 0)
			if err := pair.Exchange(10, wait); err != nil {
				t.Fatal(err)
			}
			if err := end(pair); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			pair.Abort()
		}
	})
}

func TestTCPResetThatIsLostIsReported(t *testing.T) {
	testkit.Need(t, testkit.NFT)
	r := testkit.NewRouter(t, testkit.RouterOptions{})
	pair := connect(t, r.Path(false, 5001), 0)
	r.Router.NFTables("table ip t { chain f { type filter hook forward priority 0; tcp flags rst drop; }; }")
	if err := pair.Reset(pair.Client, 200*time.Millisecond); err == nil {
		t.Error("a dropped RST was reported as arrived")
	}
}

func TestTCPConnectWithFixedClientPortUsesIt(t *testing.T) {
	r := testkit.NewRouter(t, testkit.RouterOptions{})
	p := r.Path(true, 5001)
	p.Bind = netip.AddrPortFrom(r.C0.Addr(true), 40123)
	pair := connect(t, p, 0)
	if pair.Local() != p.Bind || pair.Seen != p.Bind {
		t.Errorf("local %v, seen %v, want %v", pair.Local(), pair.Seen, p.Bind)
	}
}
