package testkit

import "time"

// pacerTick is how often a pacer lets packets go; at 1000 packets a second that is one a tick.
const pacerTick = time.Millisecond

// pacer lets rate events a second go. Late ticks are made up for, so the mean holds on a busy machine.
type pacer struct {
	rate   int
	begin  time.Time
	gone   int64
	ticker *time.Ticker
}

func newPacer(rate int) *pacer {
	return &pacer{rate: rate, begin: time.Now(), ticker: time.NewTicker(pacerTick)}
}

// wait blocks until the next event is due and reports false when stop was closed first.
func (p *pacer) wait(stop <-chan struct{}) bool {
	for p.gone >= int64(time.Since(p.begin).Seconds()*float64(p.rate)) {
		select {
		case <-p.ticker.C:
		case <-stop:
			return false
		}
	}
	p.gone++
	select {
	case <-stop:
		return false
	default:
		return true
	}
}

func (p *pacer) stop() { p.ticker.Stop() }
