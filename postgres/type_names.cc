#include "postgres/type_names.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace bdr::postgres {
namespace {

struct Named {
  uint32_t oid;
  const char* name;
};

// By OID. catalog_test compares it with a server's pg_type.
constexpr Named kBuiltin[] = {
    {16, "boolean"},
    {17, "bytea"},
    {18, "\"char\""},
    {19, "name"},
    {20, "bigint"},
    {21, "smallint"},
    {22, "int2vector"},
    {23, "integer"},
    {24, "regproc"},
    {25, "text"},
    {26, "oid"},
    {27, "tid"},
    {28, "xid"},
    {29, "cid"},
    {30, "oidvector"},
    {114, "json"},
    {142, "xml"},
    {194, "pg_node_tree"},
    {600, "point"},
    {601, "lseg"},
    {602, "path"},
    {603, "box"},
    {604, "polygon"},
    {628, "line"},
    {650, "cidr"},
    {700, "real"},
    {701, "double precision"},
    {718, "circle"},
    {774, "macaddr8"},
    {790, "money"},
    {829, "macaddr"},
    {869, "inet"},
    {1033, "aclitem"},
    {1042, "character"},
    {1043, "character varying"},
    {1082, "date"},
    {1083, "time without time zone"},
    {1114, "timestamp without time zone"},
    {1184, "timestamp with time zone"},
    {1186, "interval"},
    {1266, "time with time zone"},
    {1560, "bit"},
    {1562, "bit varying"},
    {1700, "numeric"},
    {1790, "refcursor"},
    {2202, "regprocedure"},
    {2203, "regoper"},
    {2204, "regoperator"},
    {2205, "regclass"},
    {2206, "regtype"},
    {2275, "cstring"},
    {2950, "uuid"},
    {2970, "txid_snapshot"},
    {3220, "pg_lsn"},
    {3361, "pg_ndistinct"},
    {3402, "pg_dependencies"},
    {3614, "tsvector"},
    {3615, "tsquery"},
    {3642, "gtsvector"},
    {3734, "regconfig"},
    {3769, "regdictionary"},
    {3802, "jsonb"},
    {3904, "int4range"},
    {3906, "numrange"},
    {3908, "tsrange"},
    {3910, "tstzrange"},
    {3912, "daterange"},
    {3926, "int8range"},
    {4072, "jsonpath"},
    {4089, "regnamespace"},
    {4096, "regrole"},
    {4191, "regcollation"},
    {4451, "int4multirange"},
    {4532, "nummultirange"},
    {4533, "tsmultirange"},
    {4534, "tstzmultirange"},
    {4535, "datemultirange"},
    {4536, "int8multirange"},
    {4600, "pg_brin_bloom_summary"},
    {4601, "pg_brin_minmax_multi_summary"},
    {5017, "pg_mcv_list"},
    {5038, "pg_snapshot"},
    {5069, "xid8"},
};

struct Array {
  uint32_t oid;
  uint32_t element;
};

constexpr Array kArrays[] = {
    {1263, 2275}, {143, 142},   {199, 114},   {271, 5069},  {629, 628},   {651, 650},
    {719, 718},   {775, 774},   {791, 790},   {1000, 16},   {1001, 17},   {1002, 18},
    {1003, 19},   {1005, 21},   {1006, 22},   {1007, 23},   {1008, 24},   {1009, 25},
    {1010, 27},   {1011, 28},   {1012, 29},   {1013, 30},   {1014, 1042}, {1015, 1043},
    {1016, 20},   {1017, 600},  {1018, 601},  {1019, 602},  {1020, 603},  {1021, 700},
    {1022, 701},  {1027, 604},  {1028, 26},   {1034, 1033}, {1040, 829},  {1041, 869},
    {1115, 1114}, {1182, 1082}, {1183, 1083}, {1185, 1184}, {1187, 1186}, {1231, 1700},
    {1270, 1266}, {1561, 1560}, {1563, 1562}, {2201, 1790}, {2207, 2202}, {2208, 2203},
    {2209, 2204}, {2210, 2205}, {2211, 2206}, {2949, 2970}, {2951, 2950}, {3221, 3220},
    {3643, 3614}, {3644, 3642}, {3645, 3615}, {3735, 3734}, {3770, 3769}, {3807, 3802},
    {3905, 3904}, {3907, 3906}, {3909, 3908}, {3911, 3910}, {3913, 3912}, {3927, 3926},
    {4073, 4072}, {4090, 4089}, {4097, 4096}, {4192, 4191}, {5039, 5038}, {6150, 4451},
    {6151, 4532}, {6152, 4533}, {6153, 4534}, {6155, 4535}, {6157, 4536},
};

}  // namespace

std::string BuiltinTypeName(uint32_t oid) {
  const auto* const array = std::find_if(std::begin(kArrays), std::end(kArrays),
                                         [oid](const Array& one) { return one.oid == oid; });
  if (array != std::end(kArrays)) return absl::StrCat(BuiltinTypeName(array->element), "[]");
  const auto* const named = std::find_if(std::begin(kBuiltin), std::end(kBuiltin),
                                         [oid](const Named& one) { return one.oid == oid; });
  return named == std::end(kBuiltin) ? "" : named->name;
}

std::string TypeNameForPeople(uint32_t oid, absl::string_view schema, absl::string_view name) {
  const std::string builtin = BuiltinTypeName(oid);
  if (!builtin.empty()) return builtin;
  if (name.empty()) return absl::StrCat("a type without a name (OID ", oid, ")");
  const absl::string_view element = absl::StripPrefix(name, "_");
  return absl::StrCat(schema, ".", element, element.size() < name.size() ? "[]" : "");
}

std::string TypeNameForPeople(const TypeInfo& type) {
  if (type.oid == type.base_oid && type.kind == TypeInfo::Kind::kArray && type.element != nullptr) {
    return absl::StrCat(TypeNameForPeople(*type.element), "[]");
  }
  const std::string builtin = BuiltinTypeName(type.oid);
  return builtin.empty() ? absl::StrCat(type.schema, ".", type.name) : builtin;
}

}  // namespace bdr::postgres
