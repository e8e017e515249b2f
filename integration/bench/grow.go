package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// How a file system is grown: with locks that are held, by so many processes, and with clients that take locks of their own meanwhile.
var (
	heldLocks   = []int{0, 10, 1_000, 100_000}
	clients     = []int{1, 4, 16, 64}
	holders     = 1_000
	growRounds  = 5
	dyingLocks  = 10_000
	dyingProbes = 200
)

// grow measures lock cycles with more and more locks held, and more and more clients; and what a process does to others that dies with many
// locks. Of all systems only ours is asked.
func grow(all []*system) error {
	for _, sys := range all {
		if sys.name != ourName {
			continue
		}
		dir := sys.dir("grow")
		fmt.Printf("lock cycles, µs each (and per second, of all clients)\n  %-12s", "locks held")
		for _, c := range clients {
			fmt.Printf(" %18s", fmt.Sprintf("%d clients", c))
		}
		fmt.Println()
		for _, held := range heldLocks {
			more, err := keepLocks(dir, held)
			if err != nil {
				return err
			}
			if err := growClients(dir, held); err != nil {
				return err
			}
			for _, p := range more {
				p.kill()
			}
			_ = os.RemoveAll(dir)
			dir = sys.dir("grow")
		}
		return dying(dir)
	}
	return nil
}

// keepLocks has processes hold so many locks, a few of them each.
func keepLocks(dir string, count int) (all []*process, err error) {
	each := max(1, count/holders)
	for i := 0; i*each < count; i++ {
		in := fmt.Sprintf("%s/h%d", dir, i%100)
		if err := os.MkdirAll(in, 0o755); err != nil {
			return all, err
		}
		p, err := startRole("keep", fmt.Sprintf("%s/%d-", in, i), fmt.Sprint(each))
		if err != nil {
			return all, err
		}
		all = append(all, p)
	}
	return all, nil
}

func growClients(dir string, held int) error {
	fmt.Printf("  %-12d", held)
	for _, count := range clients {
		var all []*process
		for i := range count {
			p, err := startRole("lock", fmt.Sprintf("%s/c%d.jsonl.lock", dir, i), fmt.Sprint(lockerCycles))
			if err != nil {
				return err
			}
			all = append(all, p)
		}
		best := time.Duration(1<<63 - 1)
		for range growRounds {
			took, err := timed(1, func() error { return allAtOnce(all) })
			if err != nil {
				return err
			}
			best = min(best, took)
		}
		for _, p := range all {
			p.end()
		}
		each := best / lockerCycles / time.Duration(count)
		fmt.Printf(" %18s", fmt.Sprintf("%d (%d)", each.Microseconds(), int(float64(count*lockerCycles)/best.Seconds())))
	}
	fmt.Println()
	return nil
}

// dying measures how long it takes until each lock of a process that is killed is free, and what others notice meanwhile.
func dying(dir string) error {
	p, err := startRole("keep", dir+"/dying-", fmt.Sprint(dyingLocks))
	if err != nil {
		return err
	}
	other := filepath.Join(dir, "other.jsonl.lock")
	usual, err := slowest(other, time.Second)
	if err != nil {
		return err
	}
	meanwhile := make(chan time.Duration, 1)
	go func() {
		took, _ := slowest(other, time.Second)
		meanwhile <- took
	}()
	time.Sleep(100 * time.Millisecond)
	began := time.Now()
	p.kill()
	last := fmt.Sprintf("%s/dying-%d.jsonl.lock", dir, dyingLocks-1)
	for {
		fd, err := unix.Open(last, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o644)
		if err == nil {
			unix.Close(fd)
			break
		}
		if err != unix.EEXIST || time.Since(began) > time.Minute {
			return fmt.Errorf("the lock of a dead process: %w", err)
		}
	}
	firstFree := time.Since(began)
	for i := 0; i < dyingLocks-1; i += dyingLocks / dyingProbes {
		fd, err := unix.Open(fmt.Sprintf("%s/dying-%d.jsonl.lock", dir, i), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o644)
		if err != nil {
			return fmt.Errorf("the lock of a dead process: %w", err)
		}
		unix.Close(fd)
	}
	fmt.Printf("a process dies with %d locks: the last one is free after %v, %d of them were taken within %v; another client's slowest lock cycle of 99 in 100: %v, usually %v\n",
		dyingLocks, firstFree.Round(time.Microsecond), dyingProbes, time.Since(began).Round(time.Microsecond), <-meanwhile, usual)
	return nil
}

// slowest is the slowest of 99 in 100 lock cycles.
func slowest(path string, limit time.Duration) (time.Duration, error) {
	r := row{}
	for end := time.Now().Add(limit); time.Now().Before(end); {
		took, err := timed(1, func() error { return lockCycle(path) })
		if err != nil {
			return 0, err
		}
		r.took = append(r.took, took)
	}
	slices.Sort(r.took)
	return r.quantile(0.99), nil
}
