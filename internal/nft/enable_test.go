package nft

import (
	"context"
	"errors"
	"testing"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

func enable(ns *testkit.NS, o Options, devices ...string) (Report, error) {
	var r Report
	err := ns.Do(func() (err error) {
		r, err = Enable(context.Background(), devices, o)
		return err
	})
	return r, err
}

func disable(t *testing.T, ns *testkit.NS) bool {
	t.Helper()
	var removed bool
	if err := ns.Do(func() (err error) {
		removed, err = Disable(context.Background())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return removed
}

func TestEnable_OffloadsBesideTheUsersRuleset_DisableRestoresIt(t *testing.T) {
	r := testkit.NewRouter(t, testkit.RouterOptions{})
	r.Router.NFTables("table ip filter {\nchain forward { type filter hook forward priority 0; policy drop\n" +
		"ct state established,related accept\niifname r0 ct state new accept\n}\n}\n")
	was := listing(r.Router)
	first, err := enable(r.Router, Options{}, "r1", "r0", "r1")
	if err != nil {
		t.Fatal(err)
	}
	on := listing(r.Router)
	again, err := enable(r.Router, Options{}, "r0", "r1")
	if err != nil {
		t.Fatal(err)
	}
	if listing(r.Router) != on || again.Flowtables[0].Labels != first.Flowtables[0].Labels {
		t.Error("enabling again changed the ruleset")
	}
	udp(t, r.Path(false, 5001), 20)
	if err := r.Router.Do(func() error {
		carried, err := connectionLabels()
		if carried != first.Flowtables[0].Labels {
			t.Errorf("connections carry labels %s, want %s", carried, first.Flowtables[0].Labels)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := enable(r.Router, Options{}, "r0"); err != nil {
		t.Fatal(err)
	}
	tables := live(t, r.Router).Flowtables
	if len(tables) != 1 || len(tables[0].Devices) != 1 || tables[0].Devices[0] != "r0" {
		t.Errorf("after a change of devices: %+v", tables)
	}
	if !disable(t, r.Router) || disable(t, r.Router) {
		t.Error("the first Disable must find the table and the second must not")
	}
	if now := listing(r.Router); now != was {
		t.Errorf("left behind:\n%s\nwant\n%s", now, was)
	}
}

func TestEnable_UnknownDevice_RefusesAndChangesNothing(t *testing.T) {
	ns := nsWith(t, before)
	was := listing(ns)
	_, err := enable(ns, Options{}, "lo", "eth7")
	var missing *DeviceError
	if !errors.As(err, &missing) || missing.Device != "eth7" {
		t.Errorf("got %v", err)
	}
	if listing(ns) != was {
		t.Error("the ruleset changed")
	}
}
