// Looking at a table by ranges of its key, and at rows by key: what each look costs is bounded by
// the rows that it is about, not by the table.
//
// Keys are texts of the key's columns, in its order. All of these: kNotFound if there is no such
// table, kFailedPrecondition if it has no key, kInvalidArgument for a key of another shape.
#pragma once

#include "absl/status/status.h"
#include "postgres/connection.h"

namespace bdr::v1 {
class FindKeyRequest;
class FindKeyResponse;
class HashRangeRequest;
class HashRangeResponse;
class ReadRowsRequest;
class ReadRowsResponse;
}  // namespace bdr::v1

namespace bdr::agent {

absl::Status FindKey(postgres::Connection& connection, const v1::FindKeyRequest& request,
                     v1::FindKeyResponse* response);
absl::Status HashRange(postgres::Connection& connection, const v1::HashRangeRequest& request,
                       v1::HashRangeResponse* response);
absl::Status ReadRows(postgres::Connection& connection, const v1::ReadRowsRequest& request,
                      v1::ReadRowsResponse* response);

}  // namespace bdr::agent
