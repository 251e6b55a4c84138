package rules

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Programs are the generated programs of one network namespace: what they share, and what they have counted. Renew and
// Suspend may be called from any goroutine, the other methods from one at a time.
type Programs struct {
	lease  *lease
	mu     sync.Mutex // guards ledger: counters are read by whoever asks
	ledger *ledger
	sets   *sets
}

// Open adopts what an earlier daemon has left in a directory of a bpf file system, or makes it. Programs that are still
// attached are suspended. Report gets errors that come when nobody has called; it may be called from any goroutine.
func Open(dir string, report func(error)) (*Programs, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make pin directory: %w", err)
	}
	l, err := openLease(filepath.Join(dir, leasePin))
	if err != nil {
		return nil, err
	}
	led, err := openLedger(dir, false)
	if err != nil {
		// Another version's, or damaged: that must not keep rules from running.
		report(fmt.Errorf("what rules have counted is lost: %w", err))
		if err = clearLedger(dir); err == nil {
			led, err = openLedger(dir, false)
		}
	}
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	return &Programs{lease: l, ledger: led, sets: newSets(report)}, nil
}

// Renew lets programs execute rules for another Heartbeat.
func (p *Programs) Renew() error { return p.lease.renew(Heartbeat) }

// Suspend makes programs leave every packet to nftables, from now on until the next Renew.
func (p *Programs) Suspend() error { return p.lease.suspend() }

// Exist says which rules there are; nil: any. Of others nothing is kept.
func (p *Programs) Exist(keep func(Rule) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ledger.keep = keep
}

// EndOthers says that no program runs any more but the loaded ones that were not ended.
func (p *Programs) EndOthers() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range p.ledger.gens {
		if g.adopted && g.ended.IsZero() {
			g.ended = time.Now()
		}
	}
}

// Sweep adds what ended programs have counted to the totals. Call it about once a second.
func (p *Programs) Sweep() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ledger.fold(time.Now())
}

// Counters are what rules have counted of packets that ended early, in this run and in earlier ones.
func (p *Programs) Counters() (map[Rule]Counter, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, err := p.ledger.read()
	return s.rules, err
}

// Totals are what happened to the packets of devices, by name.
func (p *Programs) Totals() (map[string]Totals, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, err := p.ledger.read()
	return s.devices, err
}

// Look reads what rules have counted from the pins of a daemon that runs, or has run. The error is os.ErrNotExist where
// none did.
func Look(dir string) (map[Rule]Counter, error) {
	l, err := openLedger(dir, true)
	if err != nil {
		return nil, err
	}
	s, err := l.read()
	return s.rules, errors.Join(err, l.close())
}

// Close gives up the descriptors; what is attached stays attached. It is suspended: nobody would suspend it when rules
// change.
func (p *Programs) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.lease.suspend(), p.lease.close(), p.ledger.close(), p.sets.close())
}
