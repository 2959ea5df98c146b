//! What expressions of admission policies and match conditions may refer to, and how they are
//! compiled.
//!
//! Knows no request and evaluates nothing. Upstream counterparts:
//! `k8s.io/apiserver/pkg/admission/plugin/cel` (`compile.go`, `composition.go`).

use k8s_cel::{Decl, DeclField, DeclShape, Environment, Program, Type, join};
use machinery::SmolStr;
use std::sync::{Arc, LazyLock};

/// What an expression may do besides looking at the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Powers {
    /// Nothing (messages).
    Look,
    /// Ask the authorizer.
    Ask,
    /// Ask the authorizer, and make patches.
    Mutate,
}

/// Compiles the expressions of one policy.
#[derive(Clone, Debug)]
pub struct Expressions {
    object: Type,
    params: Option<Type>,
    variables: Option<Vec<(SmolStr, Type)>>,
}

impl Expressions {
    /// Expressions about objects of any kind; `params` says whether there are parameters.
    pub fn new(params: bool) -> Self {
        Self::about(Type::Dyn, params.then_some(Type::Dyn))
    }

    /// Expressions about objects and parameters of known types.
    pub fn about(object: Type, params: Option<Type>) -> Self {
        Self {
            object,
            params,
            variables: None,
        }
    }

    /// With variables, which are to be added one after the other.
    #[must_use]
    pub fn composed(mut self) -> Self {
        self.variables.get_or_insert_default();
        self
    }

    /// Compiles a variable, which later expressions may refer to (and fail with, if it does
    /// not compile).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn add(&mut self, name: &str, source: &str) -> Result<Program, String> {
        self.variables.get_or_insert_default();
        let program = self.compile(source, &[Type::Dyn], Powers::Ask);
        self.declare(name, program.as_ref().ok());
        program
    }

    /// As [`Expressions::add`], as the type checker of policies does it: without complaint.
    pub fn add_unchecked(&mut self, name: &str, source: &str) {
        self.variables.get_or_insert_default();
        let program = self.environment(Powers::Ask).compile(source);
        self.declare(name, program.as_ref().ok());
    }

    fn declare(&mut self, name: &str, program: Option<&Program>) {
        let ty = program.map_or(Type::Dyn, |program| declared(program.output_type()));
        let variables = self.variables.get_or_insert_default();
        variables.retain(|(known, _)| known != name);
        variables.push((name.into(), ty));
    }

    /// Compiles an expression that must evaluate to one of `wanted` (`dyn`: to anything).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compile(
        &self,
        source: &str,
        wanted: &[Type],
        powers: Powers,
    ) -> Result<Program, String> {
        let program = self
            .environment(powers)
            .compile(source)
            .map_err(|errors| format!("compilation failed: {}", join(&errors)))?;
        let found = program.output_type();
        if wanted.iter().any(|ty| ty.is_dyn() || ty == found) {
            return Ok(program);
        }
        let found = shown(found);
        Err(match wanted {
            [only] => format!("must evaluate to {} but got {found}", shown(only)),
            several => {
                let names: Vec<String> = several.iter().map(shown).collect();
                format!(
                    "must evaluate to one of [{}] but got {found}",
                    names.join(" ")
                )
            }
        })
    }

    /// What a type check finds, in upstream's words.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, source: &str) -> Result<(), String> {
        let program = self.environment(Powers::Ask).compile(source);
        program.map(drop).map_err(|errors| join(&errors))
    }

    fn environment(&self, powers: Powers) -> Environment {
        let mut environment = Environment::base()
            .with_variable("object", self.object.clone())
            .with_variable("oldObject", self.object.clone())
            .with_variable("namespaceObject", NAMESPACE.ty())
            .with_variable("request", REQUEST.ty());
        if let Some(params) = &self.params {
            environment = environment.with_variable("params", params.clone());
        }
        if let Some(variables) = &self.variables {
            let fields = variables.iter().map(|(name, ty)| field(name, ty.clone()));
            let ty = object("kubernetes.variables", fields.collect()).ty();
            environment = environment.with_variable("variables", ty);
        }
        if powers != Powers::Look {
            let named = |name: &'static str| Type::Opaque(name);
            environment = environment
                .with_variable("authorizer", named("kubernetes.authorization.Authorizer"))
                .with_variable(
                    "authorizer.requestResource",
                    named("kubernetes.authorization.ResourceCheck"),
                );
        }
        if powers == Powers::Mutate {
            environment = environment.with_mutation();
        }
        environment
    }
}

/// Compiles what chooses devices.
///
/// # Errors
/// What is wrong with it.
pub fn device_selector(source: &str) -> Result<Program, String> {
    let environment = Environment::base().with_variable("device", DEVICE.ty());
    let program = environment.compile(source);
    let program = program.map_err(|errors| format!("compilation failed: {}", join(&errors)))?;
    match program.output_type() {
        Type::Bool | Type::Dyn => Ok(program),
        found => Err(format!(
            "must evaluate to bool or the unknown type, not {}",
            shown(found)
        )),
    }
}

/// The type of apply configurations that mutations make.
pub fn configuration_type() -> Type {
    Type::Object(Decl::open("Object"))
}

/// The type of lists of operations that mutations make.
pub fn patch_type() -> Type {
    Type::list(Type::Object(Decl::open("JSONPatch")))
}

/// What a variable is declared as: nothing is known of what is not plain data.
fn declared(ty: &Type) -> Type {
    match ty {
        Type::Bool
        | Type::Int
        | Type::Uint
        | Type::Double
        | Type::String
        | Type::Bytes
        | Type::Duration
        | Type::Timestamp => ty.clone(),
        Type::List(item) => Type::list(declared(item)),
        Type::Map(entry) => Type::map(declared(&entry.0), declared(&entry.1)),
        _ => Type::Dyn,
    }
}

/// A type as Go prints it, which differs from how the checker shows it.
fn shown(ty: &Type) -> String {
    let params = ty.params();
    if params.is_empty() {
        return ty.name().to_owned();
    }
    let params: Vec<String> = params.into_iter().map(shown).collect();
    format!("{}({})", ty.name(), params.join(", "))
}

fn field(name: &str, ty: Type) -> DeclField {
    DeclField {
        name: name.into(),
        json: name.into(),
        decl: Arc::clone(Decl::any()),
        ty,
    }
}

/// An object type whose field names are spelled as they are.
fn object(name: &str, mut fields: Vec<DeclField>) -> Arc<Decl> {
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    Arc::new(Decl {
        name: name.into(),
        shape: DeclShape::Object(fields),
        nullable: true,
        max_elements: 0,
        min_size: 2,
    })
}

fn texts(names: &[&str]) -> Vec<DeclField> {
    let text = |name: &&str| field(name, Type::String);
    names.iter().map(text).collect()
}

static REQUEST: LazyLock<Arc<Decl>> = LazyLock::new(|| {
    let kind = object(
        "kubernetes.GroupVersionKind",
        texts(&["group", "version", "kind"]),
    )
    .ty();
    let resource = texts(&["group", "version", "resource"]);
    let resource = object("kubernetes.GroupVersionResource", resource).ty();
    let strings = || Type::list(Type::String);
    let mut user = texts(&["username", "uid"]);
    user.push(field("groups", strings()));
    user.push(field("extra", Type::map(Type::String, strings())));
    let mut fields = texts(&[
        "subResource",
        "requestSubResource",
        "name",
        "namespace",
        "operation",
    ]);
    fields.extend([
        field("kind", kind.clone()),
        field("resource", resource.clone()),
        field("requestKind", kind),
        field("requestResource", resource),
        field("userInfo", object("kubernetes.UserInfo", user).ty()),
        field("dryRun", Type::Bool),
        field("options", Type::Dyn),
    ]);
    object("kubernetes.AdmissionRequest", fields)
});

static DEVICE: LazyLock<Arc<Decl>> = LazyLock::new(|| {
    let by_domain = |value| Type::map(Type::String, Type::map(Type::String, value));
    object(
        "kubernetes.DRADevice",
        vec![
            field("driver", Type::String),
            field("attributes", by_domain(Type::Dyn)),
            field("capacity", by_domain(Type::Opaque("kubernetes.Quantity"))),
            field("allowMultipleAllocations", Type::Bool),
        ],
    )
});

static NAMESPACE: LazyLock<Arc<Decl>> = LazyLock::new(|| {
    let map = || Type::map(Type::String, Type::String);
    let mut metadata = texts(&[
        "name",
        "generateName",
        "namespace",
        "UID",
        "resourceVersion",
    ]);
    metadata.extend([
        field("labels", map()),
        field("annotations", map()),
        field("creationTimestamp", Type::Timestamp),
        field("deletionTimestamp", Type::Timestamp),
        field("deletionGracePeriodSeconds", Type::Int),
        field("generation", Type::Int),
        field("finalizers", Type::list(Type::String)),
    ]);
    let mut condition = texts(&["status", "type", "message", "reason"]);
    condition.push(field("lastTransitionTime", Type::Timestamp));
    let condition = object("kubernetes.NamespaceCondition", condition).ty();
    let mut status = texts(&["phase"]);
    status.push(field("conditions", Type::list(condition)));
    let finalizers = vec![field("finalizers", Type::list(Type::String))];
    object(
        "kubernetes.Namespace",
        vec![
            field(
                "metadata",
                object("kubernetes.NamespaceMetadata", metadata).ty(),
            ),
            field("spec", object("kubernetes.NamespaceSpec", finalizers).ty()),
            field("status", object("kubernetes.NamespaceStatus", status).ty()),
        ],
    )
});
