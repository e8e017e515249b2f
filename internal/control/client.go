package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sessionlockfs/fsnode"
	"sessionlockfs/internal/events"
)

// Client asks the socket of a mount.
type Client struct{ http http.Client }

// Dial makes a client for the mount with this device number. Nothing is sent yet. A mount of root's is asked on root's socket
// by whoever may, and a user's own on the user's.
func Dial(device uint64) *Client {
	return &Client{http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, paths(device)) },
	}}}
}

// dial connects to the first socket that can be had. The error is of one that is there, if there is one.
func dial(ctx context.Context, paths []string) (c net.Conn, err error) {
	err = fmt.Errorf("there is no place for a socket: %w", fs.ErrNotExist)
	for _, path := range paths {
		var d net.Dialer
		c, e := d.DialContext(ctx, "unix", path)
		if e == nil {
			return c, nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = e
		}
	}
	return nil, err
}

// Get asks for what is there now.
func (c *Client) Get(ctx context.Context, what string) ([]byte, error) {
	body, err := c.do(ctx, http.MethodGet, what, nil)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

// Payload asks what stands under a lock's name, by its path in the mount. The error is a *Failure if there is no such directory
// (404), the name is no lock's (400), or there is a link on the way (422).
func (c *Client) Payload(ctx context.Context, path string) (d fsnode.PayloadDump, err error) {
	text, err := c.Get(ctx, "payload?"+url.Values{"path": {path}}.Encode())
	if err == nil {
		err = json.Unmarshal(text, &d)
	}
	return d, err
}

// Events gives the events since a moment, a line of JSON each, and those to come if it follows. The caller closes it.
func (c *Client) Events(ctx context.Context, since time.Time, follow bool) (io.ReadCloser, error) {
	return c.EventsFrom(ctx, events.From{Since: since}, follow)
}

// EventsFrom is Events for somebody who may have seen some already.
func (c *Client) EventsFrom(ctx context.Context, from events.From, follow bool) (io.ReadCloser, error) {
	query := url.Values{"since": {from.Since.UTC().Format(time.RFC3339Nano)}}
	if from.After > 0 {
		query.Set("after", strconv.FormatUint(from.After, 10))
	}
	if follow {
		query.Set("follow", "1")
	}
	return c.do(ctx, http.MethodGet, "events?"+query.Encode(), nil)
}

// Command has the mount carry out what may be written to the control file. The error is a *Failure if it refuses.
func (c *Client) Command(ctx context.Context, line string) error {
	body, err := c.do(ctx, http.MethodPost, "command", bytes.NewReader([]byte(line)))
	if err != nil {
		return err
	}
	return body.Close()
}

// Failure is an answer that says no.
type Failure struct {
	Status int // of HTTP
	Text   string
}

func (f *Failure) Error() string { return f.Text }

func (c *Client) do(ctx context.Context, method, what string, in io.Reader) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://mount/"+what, in)
	if err != nil {
		return nil, err
	}
	answer, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		defer answer.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 4096))
		return nil, &Failure{answer.StatusCode, strings.TrimSpace(string(text))}
	}
	return answer.Body, nil
}

// Listening is where metrics are told, by what the user asked for: a port alone is one of this machine's own.
func Listening(address string) (string, error) {
	if !strings.Contains(address, ":") {
		address = ":" + address
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("%q is no address: want PORT, or HOST:PORT for others to see: %w", address, err)
	}
	if _, err := net.LookupPort("tcp", port); port == "" {
		return "", fmt.Errorf("%q has no port", address)
	} else if err != nil {
		return "", fmt.Errorf("%q is no address: %w", address, err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}
