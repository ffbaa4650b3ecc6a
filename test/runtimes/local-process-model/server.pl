#!/usr/bin/perl
# An MCP server over stdio that does what it is told, and writes into a log what it gets, says and does. In Perl, as a process of
# it starts in a tenth of the time of one of Node.
#
#   server.pl LOG ERA PLAN...
#
# ERA is legacy, modern or both. The processes of one log take the plans in turn. A plan is "AT-START|FIRST-ANSWER", two programs
# of words with a blank in between; a call brings its own in its arguments, as "do".
use strict;
use warnings;
use Time::HiRes qw(time);

my ($log_path, $era, @plans) = @ARGV;
$| = 1;
$SIG{PIPE} = 'IGNORE';
open(my $log, '>>', $log_path) or die "no log: $!";
open(my $reread, '<', $log_path) or die "no log: $!";
note('start');
my ($at_start, $first_answer) = plan();

my ($reading, $writing, $deaf_until, $at_eof, $count, $kind) = (1, 1, 0, 'exit', 0, 0);
my ($input, @timers, @queue) = ('');
my $next_turn = 0;

run({}, split(/ /, $at_start));
while (1) {
  my $now = time;
  my @due = grep { $_->[0] <= $now } @timers;
  @timers = grep { $_->[0] > $now } @timers;
  $_->[1]->() for @due;
  turn() while @queue && time >= $next_turn;
  # What ran may have put in more that is due.
  my @times = (map({ $_->[0] } @timers), @queue ? $next_turn : (), $deaf_until > time ? $deaf_until : ());
  my ($first) = sort { $a <=> $b } @times;
  my $wait = defined $first ? ($first > time ? $first - time : 0) : 60;
  my $ready = '';
  vec($ready, 0, 1) = 1 if $reading && time >= $deaf_until;
  my $found = select($ready, undef, undef, $wait);
  take() if $found > 0 && $ready ne '' && vec($ready, 0, 1);
}

sub note { syswrite($log, "$$ @_\n") }

sub plan {
  my ($turn) = (0);
  while (<$reread>) {
    last if $_ eq "$$ start\n";
    $turn++ if / start$/;
  }
  close $reread;
  my ($start, $answer) = split(/\|/, $plans[$turn % @plans] // '|', -1);
  return ($start // '', $answer // '');
}

sub take {
  my $got = sysread(STDIN, $input, 262_144, length $input);
  if (!$got) {
    note('eof');
    $reading = 0;
    later($1 / 1000, sub { leave(0) }) if $at_eof =~ /^slow:(\d+)/;
    push @queue, [0, sub { leave(0) }] if $at_eof eq 'exit';
    return;
  }
  while ((my $end = index($input, "\n")) >= 0) {
    receive(substr($input, 0, $end));
    substr($input, 0, $end + 1, '');
  }
}

sub receive {
  my ($line) = @_;
  my ($id) = $line =~ /"id":(-?\d+|"(?:[^"\\]|\\.)*")/;
  my ($method) = $line =~ /"method":"([^"]+)"/;
  if (!defined $method) {
    note('answered', $id // '?');
    return;
  }
  if ($method eq 'notifications/cancelled') { note('cancelled', $line =~ /"requestId":(\d+|"[^"]*")/) }
  return unless defined $id;
  my %context = (id => $id, label => "id-$id", method => $method, line => $line =~ /^(.{0,4000})/);
  $context{modern} = $line =~ /io\.modelcontextprotocol\/protocolVersion/ && $era ne 'legacy';
  my $program = 'reply';
  if ($method eq 'tools/call') {
    ($context{label}) = $line =~ /"n":(\d+)/;
    ($program) = $line =~ /"do":"([^"]*)"/;
    note('got', $context{label});
    $program = ($program =~ /(big:\d+ )/ ? $1 : '') . 'reply' if $kind;
  } elsif ($first_answer ne '') {
    ($program, $first_answer) = ($first_answer, '');
  }
  run(\%context, split(/ /, $program));
}

sub later {
  my ($seconds, $what) = @_;
  push @timers, [time + $seconds, $what];
}

sub run {
  my ($context, @words) = @_;
  while (defined(my $word = shift @words)) {
    my ($name, @more) = split(/:/, $word);
    if ($name eq 'wait') {
      later($more[0] / 1000, sub { run($context, @words) });
      return;
    }
    push @queue, [0, sub { act($context, $name, @more) }];
  }
}

# The next of what is to be done, one after the other: pieces of a line have nothing in between.
sub turn {
  my ($pause, $what) = @{shift @queue};
  $what->();
  $next_turn = time + $pause;
}

sub act {
  my ($context, $name, @more) = @_;
  if ($name eq 'reply') { reply($context) }
  elsif ($name eq 'big') { $context->{size} = $more[0] }
  elsif ($name eq 'crlf') { $context->{end} = "\r\n" }
  elsif ($name eq 'pieces') { $context->{pieces} = [@more] }
  elsif ($name eq 'half') { my $text = answer($context); put(substr($text, 0, length($text) / 2)) }
  elsif ($name eq 'empty') { put(" \r\n\n") }
  elsif ($name eq 'noise') { put("not JSON\n{\"jsonrpc\":\"2.0\"\nnull\n[]\n\"\"\n17\n\x00\xff\xfe\x1b[31m\n{\"jsonrpc\":\"2.0\",\"id\":{}}\n") }
  elsif ($name eq 'huge') { note('huge'); put('x' x 1_400_000 . "\n") }
  elsif ($name eq 'say') { my $label = label('m'); say_as($label, qq({"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"$label"}}\n)) }
  elsif ($name eq 'many') { say_many($more[0]) }
  elsif ($name eq 'changed') { put(qq({"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n)) }
  elsif ($name eq 'ask') { my $label = label('q'); note('ask', $label); say_as($label, qq({"jsonrpc":"2.0","id":"$label","method":"$more[0]","params":{}}\n)) }
  elsif ($name eq 'err') { flood($more[0]) }
  elsif ($name eq 'words') { note('words'); syswrite(STDERR, "last words of $$\n") }
  elsif ($name eq 'exit') { leave($more[0]) }
  elsif ($name eq 'die') { note('die', "SIG$more[0]"); $SIG{$more[0]} = 'DEFAULT' if $more[0] ne 'KILL'; kill $more[0], $$; sleep 1 while 1 }
  elsif ($name eq 'shutout') { note('shutout'); $writing = 0; close STDOUT }
  elsif ($name eq 'shutin') { note('shutin'); $reading = 0; close STDIN }
  elsif ($name eq 'deaf') { note('deaf'); $deaf_until = time + $more[0] / 1000 }
  elsif ($name eq 'kind') { $kind = 1 }
  elsif ($name eq 'ignore') { $SIG{TERM} = 'IGNORE' }
  elsif ($name eq 'eof') { $at_eof = join(':', @more) }
  elsif ($name eq 'fork') { spawn(@more) }
  else { die "what is $name?" }
}

sub label { $count++; return "$_[0]$$-$count" }

sub leave { note('exit', $_[0]); exit $_[0] }

sub say_as {
  my ($label, $text) = @_;
  note('say', $label);
  note('said', $label) if put($text);
}

sub say_many {
  my @labels = map { label('m') } 1 .. $_[0];
  my $text = join('', map { qq({"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"$_"}}\n) } @labels);
  syswrite($log, join('', map { "$$ say $_\n" } @labels));
  syswrite($log, join('', map { "$$ said $_\n" } @labels)) if put($text);
}

sub reply {
  my ($context) = @_;
  my $text = answer($context) . ($context->{end} // "\n");
  my ($count, $pause) = @{$context->{pieces} // [1, 0]};
  return say_as($context->{label}, $text) if $count == 1;
  my $size = int(length($text) / $count) + 1;
  my @pieces = map { substr($text, $_ * $size, $size) } grep { $_ * $size < length $text } 0 .. $count - 1;
  my $last = pop @pieces;
  my @turns = map { my $piece = $_; [$pause / 1000, sub { put($piece) }] } @pieces;
  note('say', $context->{label});
  # Before all that waits: it goes on with this line.
  unshift @queue, @turns, [0, sub { note('said', $context->{label}) if put($last) }];
}

sub answer {
  my ($context) = @_;
  my $modern = $context->{modern};
  my $more = $modern ? '"resultType":"complete","ttlMs":0,"cacheScope":"private",' : '';
  my ($result, $error);
  if ($context->{method} eq 'tools/call') {
    # A character of more than one byte may be cut anywhere.
    my $text = "\xc3\xbc\xf0\x9f\x9a\x80" x (1 + ($context->{size} // 0) / 6);
    $more = $modern ? '"resultType":"complete",' : '';
    $result = qq({$more"content":[],"structuredContent":{"n":$context->{label},"text":"$text"}});
  } elsif ($context->{method} eq 'tools/list') { $result = qq({$more"tools":[{"name":"go","inputSchema":{"type":"object"}}]}) }
  elsif ($context->{method} eq 'ping') { $result = '{}' }
  elsif ($context->{method} eq 'initialize') {
    if ($era eq 'modern') { $error = '{"code":-32022,"message":"no such version","data":{"supported":["2026-07-28"]}}' }
    else {
      my ($version) = $context->{line} =~ /"protocolVersion":"([^"]*)"/;
      $result = qq({"protocolVersion":"$version","capabilities":{"tools":{"listChanged":true},"logging":{}},"serverInfo":{"name":"model","version":"1"}});
    }
  } elsif ($context->{method} eq 'server/discover' && $era ne 'legacy') {
    $result = qq({$more"supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"logging":{}},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"model","version":"1"}}});
  }
  $error //= '{"code":-32601,"message":"no such method"}';
  return qq({"jsonrpc":"2.0","id":$context->{id},) . (defined $result ? qq("result":$result) : qq("error":$error)) . '}';
}

# True when all of it has been handed over.
sub put {
  my ($text) = @_;
  while ($writing && length $text) {
    my $done = syswrite(STDOUT, $text);
    if (defined $done) { substr($text, 0, $done, '') }
    elsif ($! != 4) { note('deafened'); $writing = 0 }
  }
  return $writing;
}

sub flood {
  my ($bytes) = @_;
  my $line = "\x1b[31m\x07 it is $ENV{SECRET}\r\n \x00\x9b2J\x{7f} $ENV{SECRET} and so on \xe2\x80\xa8\n";
  syswrite(STDERR, $line) for 0 .. $bytes / length $line;
}

sub spawn {
  my ($kind) = @_;
  my $child = fork;
  if ($child) { note('fork', $kind, $child); return }
  $SIG{TERM} = 'IGNORE' if $kind eq 'stubborn';
  if ($kind =~ /^session/) { require POSIX; POSIX::setsid() }
  if ($kind !~ /pipes/) { close STDIN; close STDOUT; close STDERR }
  close $log;
  select(undef, undef, undef, 300);
  exit 0;
}
