#include "ctl/sequence_takeover.h"

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "ctl/confirm.h"
#include "ctl/format.h"
#include "ctl/rpc.h"

namespace bdr::ctl {
namespace {

struct TakeoverOptions {
  std::string sequence;
  std::string node;
  int64_t from = 0;
  bool yes = false;
};

// What is lost if the holder has given out numbers that nobody else has seen.
std::string WhatMayBeLost(const v1::SequenceState& state, const TakeoverOptions& options) {
  const std::string& holder = state.turn().holder();
  const std::string goes_on =
      absl::StrCat("Node \"", options.node, "\" goes on at ", std::max(state.next(), options.from),
                   " at least: beyond all that has come to its database.\n");
  if (holder.empty() && !state.turn().unclear()) {
    return absl::StrCat("Nobody has the turn of sequence ", state.name(), ", so nothing is lost.\n",
                        goes_on);
  }
  const std::string who = state.turn().unclear() ? "a node that was not heard, or that is not known"
                                                 : absl::StrCat("node \"", holder, "\"");
  return absl::StrCat(
      "The turn of sequence ", state.name(), " is with ", who, ", which has not given it back.\n",
      goes_on,
      "- What its holder has given out beyond, and no other node has received, is given out once "
      "more: the same number in two rows, which conflict when that node comes back, and one of "
      "them "
      "is lost.\n"
      "- If it runs on without a connection to bdr-server it goes on giving out numbers until it "
      "hears of this. Make sure first that its PostgreSQL is down.\n"
      "- What it has drawn and never committed may be left out: a gap, if --from is too high.\n");
}

absl::StatusOr<int> TakeOver(const Invocation& invocation, const TakeoverOptions& options) {
  ASSIGN_OR_RETURN(const Server server, ConnectServer(invocation.globals));
  ASSIGN_OR_RETURN(const v1::Membership membership, FetchMembership(invocation.globals));
  RETURN_IF_ERROR(SelectMembers(membership, options.node).status());
  ASSIGN_OR_RETURN(const auto listed,
                   server.Call(&v1::ControlPlane::Stub::ListSequences, v1::ListSequencesRequest()));
  const v1::SequenceState* state = nullptr;
  for (const v1::SequenceState& one : listed.sequences()) {
    if (one.name() == options.sequence) state = &one;
  }
  if (state == nullptr || state->method() != "gapless") {
    return absl::NotFoundError(absl::StrCat("there is no sequence \"", options.sequence,
                                            "\" of method gapless; write it as SCHEMA.NAME"));
  }
  RETURN_IF_ERROR(Confirm(WhatMayBeLost(*state, options), "Take it over?", options.yes));
  v1::TakeOverSequenceRequest request;
  request.set_name(options.sequence);
  request.set_node(options.node);
  request.set_first(options.from);
  request.set_turn(state->turn().number());
  ASSIGN_OR_RETURN(const auto taken,
                   server.Call(&v1::ControlPlane::Stub::TakeOverSequence, request));
  invocation.Print({.text = absl::StrCat("turn ", taken.sequence().turn().number(), " of sequence ",
                                         options.sequence, " is with node ", options.node,
                                         ", from ", taken.sequence().next(), " on at least\n"),
                    .document = {{"sequence", options.sequence},
                                 {"node", options.node},
                                 {"turn", taken.sequence().turn().number()},
                                 {"next", taken.sequence().next()},
                                 {"before", state->turn().holder()}}});
  return kGood;
}

}  // namespace

void AddSequenceTakeover(CLI::App* noun, Invocation* invocation) {
  auto options = std::make_shared<TakeoverOptions>();
  CLI::App* verb = AddVerb(
      noun, invocation, "takeover",
      "Gives the turn of a sequence of method gapless to a node, although its holder has not given "
      "it back. Says first what may be lost, and asks",
      {"bdrctl sequence takeover public.invoice_no --node us2",
       "bdrctl sequence takeover public.invoice_no --node us2 --from 4712 --yes"},
      [invocation, options] { return TakeOver(*invocation, *options); });
  verb->add_option("SEQUENCE", options->sequence, "As SCHEMA.NAME")->required();
  verb->add_option("--node", options->node, "Who gets it")->required();
  verb->add_option("--from", options->from,
                   "The next number, at least, if it is known that those before were given out");
  verb->add_flag("--yes", options->yes, "Do not ask");
}

}  // namespace bdr::ctl
