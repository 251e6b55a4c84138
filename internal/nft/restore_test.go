package nft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// kept is a ruleset with most of what nft prints in a way of its own, and with state.
const kept = `table inet filter {
	counter c { packets 7 bytes 700
	}
	quota q { over 10 mbytes used 5 kbytes
	}
	set dyn { type ipv4_addr; flags dynamic,timeout; timeout 1h; elements = { 10.0.0.1 comment "x y", 10.0.0.2 timeout 2h }; }
	set counted { type ipv4_addr; counter; elements = { 10.0.0.1 counter packets 4 bytes 3, 10.0.0.2 }; }
	set ranges { type ipv4_addr; flags interval; auto-merge; elements = { 10.0.0.0/8, 192.168.1.5-192.168.1.9 }; }
	map m { type ipv4_addr . inet_service : verdict; elements = { 1.2.3.4 . 80 : drop }; }
	chain sub {
	}
	chain x {
		comment "a chain"
		type filter hook input priority filter - 5; policy drop;
		ct state vmap { established : accept, invalid : drop }
		ip saddr @dyn counter packets 3 bytes 30 drop comment "hello"
		counter name c quota name q log prefix "x: " level info
		update @dyn { ip saddr limit rate 1/second }
		tcp dport { 22, 80-90 } meta mark set ct mark | 0x1
		meta skuid 0 iifname "eth*" reject with icmpx type admin-prohibited
		jump sub
	}
}
table netdev n {
	chain in { type filter hook ingress devices = { d0, d1 } priority 0; ip protocol tcp counter accept; }
}
table bridge b {
	chain c { ether type arp accept; }
}
table ip asleep {
	flags dormant
	chain c { type filter hook input priority 0; drop; }
}
`

func nsWithDevices(t *testing.T, text string) *testkit.NS {
	t.Helper()
	testkit.Need(t, testkit.Netns, testkit.NFT)
	ns := testkit.NewNS(t, "restore")
	ns.Run("ip", "link", "add", "name", "d0", "type", "veth", "peer", "name", "d1")
	ns.NFTables(text)
	return ns
}

// save saves the ruleset before a text is loaded.
func save(t *testing.T, ns *testkit.NS, text string) Saved {
	t.Helper()
	var s Saved
	if err := ns.Do(func() (err error) {
		s, err = Save(context.Background())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.For(Source{Name: "file", Dir: "/", Text: text}); err != nil {
		t.Fatal(err)
	}
	return s
}

// settle looks at what a text has changed.
func settle(t *testing.T, ns *testkit.NS, s *Saved) {
	t.Helper()
	if err := ns.Do(func() error { return s.Loaded(context.Background()) }); err != nil {
		t.Fatal(err)
	}
}

func restoreIn(ns *testkit.NS, s Saved) (r Restored, err error) {
	err = ns.Do(func() (err error) {
		r, err = Restore(context.Background(), s)
		return err
	})
	return r, err
}

func mustRestore(t *testing.T, ns *testkit.NS, s Saved, want Restored) {
	t.Helper()
	got, err := restoreIn(ns, s)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("restored (-want +got):\n%s", diff)
	}
}

// stateless lists the ruleset without what the clock changes; counters and quotas are in it. Tables that came back are
// listed last, which is no difference.
func stateless(ns *testkit.NS) string {
	tables := strings.SplitAfter(ns.Run("nft", "-s", "list", "ruleset"), "\n}\n")
	slices.Sort(tables)
	return strings.Join(tables, "") + ns.Run("nft", "list", "counters") + ns.Run("nft", "list", "quotas")
}

func TestRestore_AfterAnyChange_RulesetIsAsSaved(t *testing.T) {
	changes := map[string]struct {
		text              string
		replaced, removed []string
	}{
		"nothing": {},
		"flushed": {
			"flush ruleset\n",
			[]string{"inet filter", "netdev n", "bridge b", "ip asleep"},
			nil,
		},
		"flushed and another in its place": {
			"flush ruleset\ntable inet filter {\n chain x {\n type filter hook input priority 0; policy drop\n }\n}\ntable ip new {\n}\n",
			[]string{"inet filter", "netdev n", "bridge b", "ip asleep"},
			[]string{"ip new"},
		},
		"a table more":      {"table ip6 filter {\n}\n", nil, []string{"ip6 filter"}},
		"a table less":      {"delete table bridge b\n", []string{"bridge b"}, nil},
		"a rule more":       {"add rule inet filter x accept\n", []string{"inet filter"}, nil},
		"a policy":          {"chain inet filter x { policy accept; }\n", []string{"inet filter"}, nil},
		"an element":        {"add element inet filter ranges { 172.16.0.0/12 }\n", []string{"inet filter"}, nil},
		"another device":    {"delete chain netdev n in\nadd chain netdev n in { type filter hook ingress device d1 priority 0; }\n", []string{"netdev n"}, nil},
		"a table woken up":  {"add table ip asleep\n", []string{"ip asleep"}, nil},
		"same name, family": {"delete table bridge b\ntable ip b {\n}\n", []string{"bridge b"}, []string{"ip b"}},
	}
	for name, c := range changes {
		for _, settled := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, settled %v", name, settled), func(t *testing.T) {
				ns := nsWithDevices(t, kept)
				was := stateless(ns)
				s := save(t, ns, c.text)
				ns.NFTables(c.text)
				if settled {
					settle(t, ns, &s)
				}
				mustRestore(t, ns, s, Restored{Replaced: c.replaced, Removed: c.removed})
				if now := stateless(ns); now != was {
					t.Errorf("restored is not what was saved:\n%s", cmp.Diff(was, now))
				}
				mustRestore(t, ns, s, Restored{})
			})
		}
	}
}

func TestRestore_TablesThatAreTheSame_KeepTheirHandlesAndCounters(t *testing.T) {
	ns := nsWithDevices(t, kept)
	// Packets count on: that is no change.
	const text = "reset counter inet filter c\ntable ip new {\n}\n"
	s := save(t, ns, text)
	ns.NFTables(text)
	settle(t, ns, &s)
	was := ns.Run("nft", "-s", "-a", "list", "table", "inet", "filter")
	mustRestore(t, ns, s, Restored{Removed: []string{"ip new"}})
	if now := ns.Run("nft", "-s", "-a", "list", "table", "inet", "filter"); now != was {
		t.Errorf("the table was made anew:\n%s", cmp.Diff(was, now))
	}
}

// bans is a table that others change all the time.
const bans = "table ip bans {\n set b {\n type ipv4_addr\n }\n set seen {\n type ipv4_addr\n size 100\n flags dynamic\n }\n chain c {\n }\n}\n"

func TestRestore_WhatOthersChangedBehindTheLoad_IsTheirs(t *testing.T) {
	ns := nsWithDevices(t, kept+bans)
	const text = "table inet q {\n}\nadd rule inet filter x accept\n"
	s := save(t, ns, text)
	ns.NFTables(text)
	settle(t, ns, &s)
	ns.NFTables("add element ip bans b { 203.0.113.66 }\ntable ip docker {\n}\ndelete table bridge b\n")
	mustRestore(t, ns, s, Restored{Replaced: []string{"inet filter"}, Removed: []string{"inet q"}})
	now := ns.Run("nft", "list", "ruleset")
	if !strings.Contains(now, "203.0.113.66") || !strings.Contains(now, "docker") || strings.Contains(now, "bridge b") {
		t.Errorf("the work of others was undone: %s", now)
	}
}

// The load was killed on its way: nobody knows what it changed, but what it could not have changed is known.
func TestRestore_NobodyLookedAfterLoading_OnlyWhatTheSourceReaches(t *testing.T) {
	ns := nsWithDevices(t, kept+bans)
	s := save(t, ns, "table inet q {\n}\nadd rule inet filter x accept\n")
	ns.NFTables("table inet q {\n}\nadd element ip bans b { 203.0.113.66 }\ntable ip docker {\n}\n")
	mustRestore(t, ns, s, Restored{Removed: []string{"inet q"}})
	// Nothing was loaded, and packets have filled a set.
	s = save(t, ns, "flush ruleset\n")
	s.Tables[0].Rules = "other than it is"
	mustRestore(t, ns, s, Restored{})
}

// Packets fill a set again while its table is put back: that is no failure.
func TestRestored_ElementsOfPackets_AreNoDifference(t *testing.T) {
	ns := nsWithDevices(t, kept+bans)
	s := save(t, ns, "flush ruleset\n")
	s.Changed, s.Settled = []string{"inet filter", "ip bans"}, true
	for text, different := range map[string][]string{
		"add element ip bans seen { 10.0.0.1 }\n":                          nil,
		"add element inet filter dyn { 10.0.0.7 timeout 1m }\n":            nil,
		"flush set inet filter dyn\n":                                      nil,
		"add element ip bans b { 203.0.113.66 }\n":                         {"ip bans"},
		"add rule ip bans c accept\n":                                      {"ip bans"},
		"delete table ip bans\n":                                           {"ip bans"},
		"delete table ip bans\nadd element inet filter dyn { 10.0.0.3 }\n": {"ip bans"},
	} {
		mustRestoreAny(t, ns, s)
		ns.NFTables(text)
		var live []SavedTable
		if err := ns.Do(func() (err error) {
			live, _, err = tablesNow(context.Background(), false)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if got := s.different(live, nil); !slices.Equal(got, different) {
			t.Errorf("%q: different %q, want %q", text, got, different)
		}
	}
}

func mustRestoreAny(t *testing.T, ns *testkit.NS, s Saved) {
	t.Helper()
	if r, err := restoreIn(ns, s); err != nil || len(r.Different) > 0 {
		t.Fatalf("%v: %+v", err, r)
	}
}

func TestRestore_LoweredRuleset_ComesBack(t *testing.T) {
	ns := nsWithDevices(t, "")
	const text = "flush ruleset\ntable inet t {\nflowtable f { hook ingress priority 0; devices = { d0, d1, gone, \"eth*\" }; }\n" +
		"chain c { type filter hook forward priority 0\nflow add @f\n}\n}\n"
	loadText(t, ns, text, Options{Lower: true})
	was, s := stateless(ns), save(t, ns, "flush ruleset\n")
	ns.NFTables("flush ruleset\n")
	mustRestore(t, ns, s, Restored{Replaced: []string{"inet t"}})
	if now := stateless(ns); now != was {
		t.Errorf("restored is not what was saved:\n%s", cmp.Diff(was, now))
	}
	if got := live(t, ns).Flowtables; len(got) != 1 || !got[0].Lowered {
		t.Errorf("flowtables %+v", got)
	}
}

// On kernels with flowtables a device that went away does not keep the ruleset from coming back.
func TestRestore_FlowtableWhoseDeviceIsGone_ComesBackWithoutIt(t *testing.T) {
	has, err := HasFlowtables(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	const text = "table inet t {\nflowtable f { hook ingress priority 0; devices = { d0, e0 }; counter; }\n" +
		"chain c { type filter hook forward priority 0; policy drop\nflow add @f\n}\n}\n"
	ns := nsWithDevices(t, "")
	ns.Run("ip", "link", "add", "name", "e0", "type", "veth", "peer", "name", "e1")
	loadText(t, ns, text, Options{})
	s := save(t, ns, "flush ruleset\n")
	ns.NFTables("flush ruleset\n")
	ns.Run("ip", "link", "del", "e0")
	want := Restored{Replaced: []string{"inet t"}}
	if has {
		want.LeftOut = []string{"e0"}
	}
	mustRestore(t, ns, s, want)
	if got := live(t, ns).Flowtables; len(got) != 1 || has && !slices.Equal(got[0].Devices, []string{"d0"}) {
		t.Errorf("flowtables %+v", got)
	}
}

// Where one table cannot come back (a chain on a device that is gone, before Linux 6.16) the others do.
func TestRestore_TableThatIsRefused_TheOthersComeBack(t *testing.T) {
	ns := nsWithDevices(t, kept)
	const text = "flush ruleset\ntable ip new {\n}\n"
	s := save(t, ns, text)
	was := ns.Run("nft", "-s", "list", "table", "inet", "filter")
	s.Tables = append(s.Tables, SavedTable{Family: "ip", Name: "nat", Text: unreadable})
	ns.NFTables(text)
	_, err := restoreIn(ns, s)
	if _, refused := errors.AsType[*Error](err); !refused {
		t.Errorf("got %v, want an *Error about the table", err)
	}
	if now := ns.Run("nft", "-s", "list", "table", "inet", "filter"); now != was {
		t.Errorf("the table that could come back did not: %s", now)
	}
	if tables := ns.Run("nft", "list", "tables"); strings.Contains(tables, "new") {
		t.Errorf("the new table is still there: %s", tables)
	}
}

func TestRestore_NothingSaved_IsAnEmptyRuleset(t *testing.T) {
	ns := nsWithDevices(t, "")
	s := save(t, ns, kept)
	ns.NFTables(kept)
	mustRestore(t, ns, s, Restored{Removed: []string{"inet filter", "netdev n", "bridge b", "ip asleep"}})
	if now := ns.Run("nft", "list", "ruleset"); now != "" {
		t.Errorf("left: %s", now)
	}
}

// nft lists rules of iptables-nft that it cannot read back (src/xt.c); this is one.
const unreadable = "table ip nat {\n\tchain c {\n\t\txt match \"addrtype\" counter packets 0 bytes 0\n\t}\n}\n"

func TestSaved_TableThatNftCannotReadBack_IsFoundAndLeftAlone(t *testing.T) {
	ns := nsWithDevices(t, "table ip nat {\n\tchain c {\n\t}\n}\ntable inet filter {\n\tchain c {\n\t}\n}\n")
	s := save(t, ns, "")
	s.Tables[0].Text = unreadable
	if err := ns.Do(func() error { return s.check(context.Background()) }); err != nil {
		t.Fatal(err)
	}
	if s.Tables[0].Broken == "" || s.Tables[1].Broken != "" {
		t.Fatalf("broken: %q, %q", s.Tables[0].Broken, s.Tables[1].Broken)
	}
	for text, keeps := range map[string]bool{
		"flush ruleset\n":                   false,
		"table inet filter {\n}\n":          true,
		"table ip nat {\n}\n":               false,
		"add rule nat c accept\n":           false,
		"delete table ip nat\n":             false,
		"define x = nat\n":                  true,
		"add rule inet filter c jump nat\n": false, // could be the name of a table
		"table inet filter {\n chain nat {\n }\n chain c {\n jump nat\n }\n}\n": true,
		`{"nftables": [{"delete": {"table": {"family": "ip", "handle": 3}}}]}`:  false,
		"delete table handle 3\n":              false,
		"delete table ip handle 3\n":           false,
		"delete rule inet filter c handle 3\n": true,
		"table inet nat {\n}\n":                true, // the family may be left out for ip only
		"table inet f {\n chain c {\n type nat hook postrouting priority 0\n }\n}\n":        true,
		`{"nftables": [{"flush": {"ruleset": null}}]}`:                                      false,
		`{"nftables": [{"delete": {"table": {"family": "ip", "name": "nat"}}}]}`:            false,
		`{"nftables": [{"add": {"chain": {"family": "ip", "table": "nat", "name": "c"}}}]}`: false,
		`{"nftables": [{"add": {"table": {"family": "inet", "name": "filter"}}}]}`:          true,
	} {
		var unsaved *UnsavedError
		err := s.For(Source{Name: "file", Dir: "/", Text: text})
		if errors.As(err, &unsaved) == keeps || keeps != (err == nil) {
			t.Errorf("%q: %v, want keeps %v", text, err, keeps)
		}
	}
	s.Reach = Reach{Tables: map[string]bool{"inet filter": true}}
	ns.NFTables("add rule ip nat c accept\nadd rule inet filter c accept\n")
	mustRestore(t, ns, s, Restored{Replaced: []string{"inet filter"}})
}

func TestSave_WhileTheRulesetChanges_IsOfOneMoment(t *testing.T) {
	ns := nsWithDevices(t, "")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			// Both tables, or none, have the number.
			text := fmt.Sprintf("flush ruleset\ntable ip a {\n chain n%d {\n }\n}\ntable ip b {\n chain n%d {\n }\n}\n", i, i)
			if _, err := ns.Pipe(text, "nft", "-f", "-"); err != nil {
				t.Error(err)
				return
			}
			select {
			case <-stop:
				return
			case <-t.Context().Done():
				return
			default:
			}
		}
	}()
	for range 5 {
		var s Saved
		err := ns.Do(func() (err error) {
			s, err = Save(context.Background())
			return err
		})
		if err != nil {
			// Changed all the time is an honest answer; a mixture is not.
			if !strings.Contains(err.Error(), "all the time") {
				t.Error(err)
			}
			continue
		}
		if len(s.Tables) == 2 && strings.ReplaceAll(s.Tables[0].Rules, "ip a", "ip b") != s.Tables[1].Rules {
			t.Errorf("a mixture: %+v", s.Tables)
		}
	}
	close(stop)
	<-stopped
}
